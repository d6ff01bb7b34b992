"""Many workers with faults, in thousands of schedules: see `world`. The long run is `python -m tests.simulation`."""

from __future__ import annotations

import pytest

from tests.simulation.schedules import run

SCHEDULES = 100
MORE = 700


@pytest.mark.timeout(600)
def test_no_schedule_of_faults_breaks_the_protocol() -> None:
    assert run(1, SCHEDULES) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_longer_series_of_schedules_breaks_the_protocol() -> None:
    assert run(1 + SCHEDULES, MORE) == []
