"""An attempt whose step was given to another one while it ran: its outcome is thrown away, and that is on record."""

from __future__ import annotations

import time

from qmrunner.model.policy import Limits, Lost
from qmrunner.store import events
from qmrunner.store.finish import end
from tests.lifecycle.lab import Lab
from tests.support import wait_for


def test_an_outcome_that_comes_too_late_is_thrown_away_and_counted(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    step = lab.step(job)
    with lab.store.write() as connection:  # as a judge elsewhere does that takes this machine for lost
        done, _ = end(
            connection, time.time(), step_id=step.id, number=1, ending=Lost("machine"), limits=Limits(2, 5.0, 3),
            usage={}, planner=lab.app.planner,
        )  # fmt: skip
    assert done is not None

    def fenced() -> list[int]:
        with lab.store.read() as connection:
            rows = events.of_job(connection, job)
        return [row["attempt"] for row in rows if row["event"] == "attempt_fenced"]

    wait_for(fenced, 30.0, "the record of the thrown-away outcome")
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert fenced() == [1]
    assert lab.published_attempt(job) == 2
