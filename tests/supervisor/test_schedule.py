"""The periodic work of the supervisor: a turn that lasts does not fill the log."""

from __future__ import annotations

import threading
from datetime import UTC

import pytest

from qmrunner.supervisor.schedule import _Scheduler
from tests.support import wait_for


def test_a_turn_that_lasts_is_skipped_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = _Scheduler(timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1})
    begun, let_go, turns = threading.Event(), threading.Event(), []

    def last() -> None:
        turns.append(1)
        begun.set()
        let_go.wait(20)

    skipped: list[int] = []
    scheduler.add_listener(lambda event: skipped.append(event.code), 2**16)  # EVENT_JOB_MAX_INSTANCES
    scheduler.add_job(last, "interval", seconds=0.05)
    scheduler.start()
    try:
        assert begun.wait(20)
        wait_for(lambda: len(skipped) > 3, 20.0, "turns that were skipped")
        assert len(turns) == 1
    finally:
        let_go.set()
        scheduler.shutdown(wait=True)
    assert caplog.records == []
