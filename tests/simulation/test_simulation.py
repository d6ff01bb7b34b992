"""Many workers with faults, in thousands of schedules: see `world`. The long run is `python -m tests.simulation`."""

from __future__ import annotations

import time

from tests.simulation.__main__ import blank, one

SECONDS = 15.0


def test_no_schedule_of_faults_breaks_the_protocol() -> None:
    end = time.monotonic() + SECONDS
    problems: list[str] = []
    seed = 0
    with blank() as store, store.write() as connection:
        while time.monotonic() < end and len(problems) < 5:
            seed += 1
            if problem := one(connection, seed):
                problems.append(problem)
    assert problems == []
    assert seed >= 100
