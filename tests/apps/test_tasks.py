"""What Huey promises to tasks holds under qmrunner, too."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.apps.conftest import CONSUMER, Lab
from tests.support import wait_for


def test_results_retries_pipelines_and_chords_are_as_in_huey(lab: Lab) -> None:
    added = lab.enqueue("tasks.add(1, 2)")
    flaky = lab.enqueue("tasks.flaky('f')")
    failed = lab.enqueue("tasks.fail('x')")
    pipeline = lab.enqueue("huey.enqueue(tasks.add.s(1, 2).then(tasks.add, 10))")
    chord = lab.enqueue("huey.enqueue(chord([tasks.add.s(i, i) for i in range(3)], tasks.total.s())).callback")
    later = lab.enqueue("tasks.add.schedule((4, 4), delay=2)")
    lab.start()
    assert lab.await_result(added) == 3
    wait_for(lambda: lab.result(flaky) == "second", 20.0, "the second try")  # the first leaves an Error, as in Huey
    assert lab.await_result(failed).metadata["error"] == "ValueError('no luck with x')"
    assert [lab.await_result(part) for part in pipeline] == [3, 13]
    assert lab.await_result(chord) == 6
    assert lab.await_result(later) == 8
    assert lab.states("x") == ["running", "failed: no luck with x"]
    wait_for(lambda: not lab.left(), 10.0, "an empty queue")
    codes = {job["name"]: job["code"] for job in lab.jobs() if job["state"] == "failed"}
    assert codes["nmr.tasks.fail"] == "task_error"


def test_a_task_that_ends_its_process_is_tried_again_and_then_reported(lab: Lab) -> None:
    lab.enqueue("tasks.leave('l')")
    lab.start()
    job = wait_for(lambda: [job for job in lab.jobs() if job["state"] == "failed"], 30.0, "the failure")[0]
    assert job["code"] == "task_died"
    assert len(lab.lines("l")) == 2  # the same end twice is deterministic
    assert lab.states("l")[:-1] == ["running"] * 3
    assert lab.states("l")[-1].startswith("failed: the task's process died in its body (exit status 3)")
    assert [step["state"] for step in lab.home.json("status", job["id"])["job"]["steps"]] == ["failed", "succeeded"]


def test_a_task_that_may_not_run_twice_is_reported_after_a_kill(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.pump('p')")
    lab.start()
    wait_for(lambda: lab.lines("p"), 20.0, "the body")
    lab.kill("qm-guardian")
    job = wait_for(lambda: [job for job in lab.jobs() if job["state"] == "failed"], 30.0, "the failure")[0]
    assert job["code"] == "lost_not_rerun"
    assert len(lab.lines("p")) == 1
    assert lab.states("p")[-1] == "failed: its process died, and it may not run twice"
    assert "may not run twice" in lab.await_result(huey_id).metadata["error"]


@pytest.mark.slow
def test_a_lock_of_a_killed_task_does_not_stop_its_next_run(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.locked('k', 3)")
    lab.start()
    wait_for(lambda: lab.lines("k"), 20.0, "the body")
    lab.kill("qm-task")
    assert lab.await_result(huey_id) == "k"
    assert (len(lab.lines("k")), lab.locks()) == (2, [])


def test_a_result_that_cannot_be_stored_is_reported_and_its_body_not_repeated(lab: Lab) -> None:
    lab.enqueue("tasks.unstorable('u')")
    lab.start()
    job = wait_for(lambda: [job for job in lab.jobs() if job["state"] == "failed"], 20.0, "the failure")[0]
    assert job["code"] == "result_lost"
    assert len(lab.lines("u")) == 1
    assert lab.states("u")[0] == "running"
    assert lab.states("u")[1].startswith("failed: ")


def test_the_consumers_script_with_its_own_options_is_a_command_too(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.add(2, 3)")
    script = Path(sys.executable).parent / "huey_consumer"
    lab.start((str(script), "nmr.queue.huey", "-w", "2", "-k", "thread"))
    assert lab.await_result(huey_id) == 5


def test_output_that_children_redirect_to_files_is_on_stdout(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.optimise('o', 2)")
    daemon = lab.start()
    lab.await_result(huey_id)
    job = lab.job(huey_id)["id"]
    wait_for(lambda: f"{job}/task:optimize.out| iteration 20\n" in daemon.text(), 10.0, "the program's output")
    assert daemon.text().count("iteration 5\n") == 1
    assert f"{job}/task| optimising o in " in daemon.text()
    shutil.rmtree(lab.folder / "data/jobs/o")  # the application may do so
    kept = lab.home.run("logs", huey_id, "--file", "optimize.out").stdout
    assert kept == "".join(f"iteration {number}\n" for number in range(1, 21))
    unknown = lab.home.run("logs", huey_id, "--file", "../../store.db")
    assert (unknown.returncode, "known are " in unknown.stderr) == (3, True)


@pytest.mark.slow
def test_flushing_locks_at_the_start_spares_those_of_living_tasks(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.locked('k', 8)")
    lab.start((*CONSUMER, "-f"))
    wait_for(lambda: lab.lines("k"), 20.0, "the body")
    first = lab.pids("qm-apphost")
    lab.kill("qm-apphost")
    wait_for(lambda: set(lab.pids("qm-apphost")) - set(first), 20.0, "the next host")  # it has flushed by then
    assert len(lab.locks()) == 1
    assert lab.await_result(huey_id) == "k"
    assert (len(lab.lines("k")), lab.locks()) == (1, [])


@pytest.mark.alone
def test_as_many_tasks_run_at_once_as_the_application_has_workers(lab: Lab) -> None:
    for job in ("a", "b", "c", "d", "e", "f"):
        lab.enqueue(f"tasks.meet({job!r}, 5)")
    lab.start((*CONSUMER[:4], "-w", "5", "-k", "process"), QMRUNNER_SLOTS="1", QMRUNNER_CORES="1")
    met = wait_for(lambda: [job for job in "abcdef" if "met 5" in str(lab.lines(job))], 90.0, "five tasks at once")
    assert len(met) >= 1
    assert not any("met 6" in str(lab.lines(job)) for job in "abcdef")


def test_a_lost_run_of_a_periodic_task_is_not_repeated_after_an_hour(lab: Lab) -> None:
    lab.start(LAB_PERIODIC="1")
    wait_for(lambda: lab.lines("tick"), 30.0, "the body")
    job = lab.jobs()[-1]["id"]
    lab.home.run("hold", job)
    lab.kill("qm-guardian")
    wait_for(lambda: lab.home.json("status", job)["job"]["steps"][0]["state"] == "ready", 20.0, "its return")
    begun = next((lab.home.path / "scratch" / job).rglob("begun"))
    begun.write_text(json.dumps({"at": json.loads(begun.read_text())["at"] - 3601}))
    lab.home.run("release", job)
    wait_for(lambda: lab.home.json("status", job)["job"]["state"] == "succeeded", 30.0, "the end")
    assert "dropped" in lab.home.json("status", job)["job"]["summary"]


def test_a_stop_waits_for_a_task_that_ends_within_half_of_the_grace(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.optimise('q', 3)")
    lab.start(QMRUNNER_STOP_GRACE_SECONDS="60")
    wait_for(lambda: lab.engines("q"), 30.0, "the engine")
    assert lab.daemon is not None
    assert lab.daemon.stop() == 0
    assert (lab.states("q"), lab.lines("q")[-1].split()[1]) == (["running", "complete"], "end")
    assert lab.result(huey_id)["job"] == "q"
