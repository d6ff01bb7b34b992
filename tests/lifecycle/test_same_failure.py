"""A failure that comes twice with the same words is the run's own: it is not tried a third time."""

from __future__ import annotations

import pytest

from qmrunner.reports import why
from tests.lifecycle.lab import Lab


@pytest.mark.parametrize(("behaviour", "code"), [({"exit": 1}, "unknown"), ({"signal": 6}, "crashed")])
def test_the_same_failure_twice_ends_the_job_whatever_retries_are_left(
    lab: Lab, behaviour: dict[str, int], code: str
) -> None:
    lab.start(QMRUNNER_MAX_RETRIES="9")
    job = lab.submit(**behaviour)
    assert lab.ended(job) == "failed"
    assert lab.attempts(job) == [(1, "failed", code), (2, "failed", code)]
    assert "the same as in attempt 1" in lab.step(job).summary
    told = why.view(lab.app, job)
    assert (told["code"], told["class"]) == (code, "transient")
    assert "after 2 attempts" in told["summary"]
    assert told["next"] == f"qmrunner logs {job} --step xtb"


def test_a_run_that_something_outside_kills_keeps_its_retries(lab: Lab) -> None:
    lab.start(QMRUNNER_MAX_RETRIES="3")
    job = lab.submit(signal=9)
    assert lab.ended(job) == "failed"
    assert lab.attempts(job) == [(number, "failed", "killed") for number in (1, 2, 3, 4)]
