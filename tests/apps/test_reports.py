"""Ends that a task's own process cannot report reach the application all the same, once."""

from __future__ import annotations

from typing import Any

from tests.apps.conftest import Lab
from tests.support import wait_for


def begin(lab: Lab, expression: str, job: str, **settings: str) -> tuple[str, str]:
    """Start a daemon and a task. Returns Huey's id and ours once its body runs."""
    huey_id = lab.enqueue(expression)
    lab.start(**settings)
    wait_for(lambda: lab.lines(job), 30.0, "the body")
    return huey_id, lab.job(huey_id)["id"]


def ended_as(lab: Lab, job: str, count: int = 1) -> list[str]:
    """What the application has received, without the beginnings."""
    return wait_for(
        lambda: found if len(found := [state for state in lab.states(job) if state != "running"]) >= count else None,
        30.0,
        "the report",
    )


def reports(lab: Lab) -> list[dict[str, Any]]:
    return [job for job in lab.jobs() if (job["name"] or "").startswith("report of ")]


def test_a_task_that_ignores_the_interrupt_is_killed_and_its_cancellation_reported(lab: Lab) -> None:
    huey_id, job = begin(lab, "tasks.stubborn('s')", "s", QMRUNNER_STOP_GRACE_SECONDS="5")
    lab.home.run("cancel", huey_id)
    assert ended_as(lab, "s") == ["failed: interrupted"]  # stands in for CANCELED, which nothing here listens to
    wait_for(lambda: [one["state"] for one in reports(lab)] == ["succeeded"], 20.0, "the end of the report")
    assert (lab.home.json("status", job)["job"]["state"], lab.locks(), lab.left()) == ("cancelled", [], {})
    assert len(lab.lines("s")) == 1
    assert lab.result(huey_id) is not None
    assert lab.job(huey_id)["id"] == job  # and not its report


def test_a_task_that_is_cancelled_while_it_waits_is_reported(lab: Lab) -> None:
    huey_id, job = begin(lab, "tasks.optimise('w', 60)", "w")
    lab.home.run("hold", job)
    lab.kill("qm-guardian")
    wait_for(lambda: lab.home.json("status", job)["job"]["steps"][0]["state"] == "ready", 20.0, "its return")
    lab.home.run("cancel", job)
    assert ended_as(lab, "w") == ["failed: interrupted"]
    assert len(lab.lines("w")) == 1
    assert lab.job(huey_id)["state"] == "cancelled"


def test_a_poisonous_task_is_held_and_reported_once_and_runs_after_a_release(lab: Lab) -> None:
    huey_id, job = begin(lab, "tasks.optimise('p', 3)", "p", QMRUNNER_POISON_DEATHS="1")
    lab.kill("qm-guardian")
    wait_for(lambda: lab.job(huey_id)["state"] == "held", 20.0, "the hold")
    assert ended_as(lab, "p")[0].startswith("failed: held: ")
    lab.home.run("release", job)
    assert ended_as(lab, "p", 2)[1:] == ["complete"]
    assert lab.job(huey_id)["state"] == "succeeded"
    assert len(reports(lab)) == 1
    assert lab.await_result(huey_id)["job"] == "p"
