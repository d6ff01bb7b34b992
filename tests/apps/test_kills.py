"""A Huey application under qmrunner, with its processes killed while an engine runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.apps.conftest import Lab, Overlap
from tests.sampling import share
from tests.support import wait_for


def begin(lab: Lab, seconds: int = 4) -> str:
    """A task whose engine runs, under a daemon."""
    huey_id: str = lab.enqueue(f"tasks.optimise('j1', {seconds})")
    lab.start()
    wait_for(lambda: lab.engines("j1"), 30.0, "the engine")
    return huey_id


def check_complete(lab: Lab, huey_id: str, bodies: int) -> None:
    assert lab.await_result(huey_id)["job"] == "j1"
    assert lab.states("j1") == ["running"] * bodies + ["complete"]
    assert [line.split()[1] for line in lab.lines("j1")] == ["begin"] * bodies + ["end"]
    wait_for(lambda: [job["state"] for job in lab.jobs()] == ["succeeded"], 10.0, "the end of the job")
    assert (lab.left(), lab.locks(), lab.engines("j1")) == ({}, [], [])


@pytest.mark.parametrize(
    ("killed", "bodies"), [("qm-task", 2), ("qm-guardian", 2), ("qm-consumer", 1), ("qm-apphost", 1)]
)
def test_a_killed_process_costs_no_task_and_no_other_engine(lab: Lab, killed: str, bodies: int) -> None:
    huey_id = begin(lab)
    with Overlap(lab, "j1") as overlap:
        lab.kill(killed)
        check_complete(lab, huey_id, bodies)
    assert overlap.most == 1


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "bodies"), [("daemon", 1), ("tree", 2)])
def test_a_restarted_daemon_adopts_or_repeats_a_task(lab: Lab, killed: str, bodies: int) -> None:
    huey_id = begin(lab)
    with Overlap(lab, "j1") as overlap:
        lab.kill(killed)
        lab.start()
        check_complete(lab, huey_id, bodies)
    assert overlap.most == 1


def test_a_stop_is_no_failure_for_the_application(lab: Lab) -> None:
    huey_id = begin(lab)
    assert lab.daemon is not None
    assert lab.daemon.stop() == 0
    assert lab.daemon.events("leftovers_ended") == []
    assert (lab.engines("j1"), lab.home.processes()) == ([], [])
    assert lab.states("j1") == ["running"]  # neither interrupted nor failed
    lab.start()
    check_complete(lab, huey_id, 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", share(["raises", "returns", "loop"], 3))
def test_a_stop_is_no_outcome_of_a_body_that_handles_the_signal_itself(lab: Lab, how: str) -> None:
    huey_id = lab.enqueue(f"tasks.handles_stop('j1', {how!r})")
    lab.start()
    wait_for(lambda: lab.lines("j1"), 30.0, "the body")
    assert lab.daemon is not None
    assert lab.daemon.stop() == 0
    assert (lab.states("j1"), lab.result(huey_id)) == (["running"], None)
    lab.start()
    assert lab.await_result(huey_id) == "again"
    assert lab.states("j1") == ["running", "running", "complete"]


def test_a_killed_task_does_not_wait_as_long_as_an_engine(lab: Lab) -> None:
    lab.home.extra["QMRUNNER_RETRY_DELAY_SECONDS"] = "600"
    huey_id = begin(lab)
    lab.kill("qm-task")
    check_complete(lab, huey_id, 2)


@pytest.mark.slow
def test_what_outlived_a_killed_host_is_ended_before_the_application_is_imported(lab: Lab) -> None:
    huey_id = begin(lab, 12)
    old = lab.engines("j1")
    lab.kill("tree")
    assert set(old) <= set(lab.engines("j1"))
    (lab.folder / "data/hold").touch()
    since = datetime.now(UTC).isoformat()
    daemon = lab.start(ready=False)
    wait_for(lambda: not set(old) & set(lab.engines("j1")), 20.0, "the end of the old engine")
    # It also prints what the killed daemon had recorded, but not printed yet.
    assert [event for event in daemon.events("app_ready") if event["time"] > since] == []
    (lab.folder / "data/hold").unlink()
    check_complete(lab, huey_id, 2)
