"""A task that Huey retries is one job, with steps for each try."""

from __future__ import annotations

import pytest

from tests.apps.conftest import CONSUMER, Lab
from tests.support import wait_for

TWO = (*CONSUMER[:4], "-w", "2", "-k", "process")


def steps(lab: Lab, huey_id: str) -> list[tuple[str, str, str]]:
    return [(one["id"].split("/")[-1], one["state"], one["code"]) for one in lab.job(huey_id)["steps"]]


def test_all_tries_of_a_task_are_one_job(lab: Lab) -> None:
    flaky, often = lab.enqueue("tasks.flaky('f')"), lab.enqueue("tasks.often('o', 4)")
    lab.start(TWO)
    wait_for(lambda: (lab.result(flaky), lab.result(often)) == ("second", "good"), 60.0, "both results")
    wait_for(lambda: [job["state"] for job in lab.jobs()] == ["succeeded"] * 2, 20.0, "two jobs")
    assert [name for name, _, _ in steps(lab, often)] == ["task", "task-2", "task-3", "task-4"]
    assert [code for _, _, code in steps(lab, flaky)] == ["retrying", None]
    assert lab.home.json("result", flaky)["result"]["state"] == "complete"
    attempts = lab.home.json("why", often)["attempts"]
    assert len(attempts) == 4
    assert (lab.left(), lab.locks()) == ({}, [])


@pytest.mark.slow
def test_tries_survive_a_kill_of_everything_between_them(lab: Lab) -> None:
    flaky = lab.enqueue("tasks.flaky('f', retry_delay=8)")
    lab.start()
    wait_for(lambda: [job["code"] for job in lab.jobs()] == ["retrying"], 30.0, "the first try")
    lab.kill("tree")
    lab.start()
    wait_for(lambda: lab.result(flaky) == "second", 30.0, "the second try")
    wait_for(lambda: [job["state"] for job in lab.jobs()] == ["succeeded"], 20.0, "one job")
    assert len(lab.lines("f")) == 2


def test_a_task_whose_retries_run_out_fails_and_only_its_last_try_is_repeated(lab: Lab) -> None:
    often = lab.enqueue("tasks.often('o', 6)")
    lab.start(TWO)
    wait_for(lambda: [(job["state"], job["code"]) for job in lab.jobs()] == [("failed", "task_error")], 60.0, "the end")
    assert len(lab.lines("o")) == 4
    assert lab.home.run("retry", often).returncode == 0
    wait_for(lambda: len(lab.lines("o")) == 5, 30.0, "one more body")
    wait_for(lambda: lab.job(often)["state"] == "failed", 30.0, "the end")
    assert [state for _, state, _ in steps(lab, often)] == ["failed"] * 4
    assert len(lab.jobs()) == 1


@pytest.mark.slow
def test_messages_that_an_application_gives_one_id_do_not_wait_for_each_other(lab: Lab) -> None:
    lab.start((*CONSUMER[:4], "-w", "4"))
    lab.enqueue("[huey.enqueue(tasks.optimise.task_class(('same', 5), id='fixed')) for _ in range(4)]")
    wait_for(lambda: len(lab.engines("same")) == 4, 40.0, "four bodies at once")
    wait_for(lambda: [job["state"] for job in lab.jobs()] == ["succeeded"] * 4, 40.0, "their ends")
    assert lab.left() == {}
