"""A worker as a job of a batch system: it ends when nothing is left to do, and in time for the wall time."""

from __future__ import annotations

import pytest

from tests.lifecycle.lab import Lab
from tests.support import wait_for

UNTIL_IDLE = ("--until-idle",)


def test_a_worker_until_idle_does_what_there_is_and_ends_well(lab: Lab) -> None:
    jobs = [lab.submit(seconds=0) for _ in range(3)]
    pilot = lab.start(ready=False, arguments=UNTIL_IDLE)
    assert pilot.process.wait(60) == 0
    assert [lab.state(job) for job in jobs] == ["succeeded"] * 3
    assert pilot.events("daemon_idle")
    assert pilot.events("daemon_stopped")
    assert lab.home.processes() == []


def test_a_worker_until_idle_ends_at_once_where_there_is_nothing(lab: Lab) -> None:
    _ = lab.store
    assert lab.start(ready=False, arguments=UNTIL_IDLE).process.wait(30) == 0


def test_a_retry_that_waits_for_its_time_is_waited_for(lab: Lab) -> None:
    job = lab.submit(signal=9)
    pilot = lab.start(ready=False, arguments=UNTIL_IDLE, QMRUNNER_RETRY_DELAY_SECONDS="1.5")
    assert pilot.process.wait(60) == 0
    assert lab.attempts(job) == [(number, "failed", "killed") for number in (1, 2, 3)]


@pytest.mark.slow
def test_before_the_wall_time_ends_what_runs_is_stopped_and_spends_no_retry(lab: Lab) -> None:
    job = lab.submit(gate=1)
    pilot = lab.start(ready=False, arguments=("--walltime", "20"))  # 5 s of it are for stopping, and 5 s a margin
    lab.running(job)
    assert pilot.process.wait(60) == 0
    assert pilot.events("stop_requested")[0]["reason"] == "wall time"
    assert lab.attempts(job) == [(1, "stopped", "stopped")]
    assert lab.step(job).retries == 0
    lab.open_gate()
    assert lab.start(ready=False, arguments=UNTIL_IDLE).process.wait(60) == 0
    assert lab.state(job) == "succeeded"


@pytest.mark.parametrize("wrong", ["soon", "3s"])
def test_a_wall_time_that_cannot_be_meant_is_refused(lab: Lab, wrong: str) -> None:
    refused = lab.home.run("run", "--walltime", wrong)
    assert refused.returncode == 2
    assert "walltime_invalid" in refused.stderr
    wait_for(lambda: lab.home.processes() == [])
