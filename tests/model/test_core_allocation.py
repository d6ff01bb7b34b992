"""Moldable steps: few cores each while many wait, more for the last ones, and never a wait that nothing ends."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.core_allocation import Busy, Stage, amdahl, cores_now, measured, remaining_s


def makespan(steps: int, cores: int, spread: float, seed: int) -> float:
    """When a stage ends that is handed out claim by claim, over the bound of perfect speed-up (>= 1).

    Each step takes 1 on one core, give or take `spread`, which the one who hands out does not know.
    """
    dice = random.Random(seed)
    work = [1.0 + spread * dice.uniform(-1, 1) for _ in range(steps)]
    running: list[tuple[float, int, float]] = []  # end, cores, start
    now, free, todo = 0.0, cores, list(work)
    while todo or running:
        while todo:
            busy = [Busy(used, remaining_s(1.0 / amdahl(used), now - since)) for _, used, since in running]
            given_cores = cores_now(Stage(len(todo), 1, cores, 1.0), free, busy, cores - len(running))
            if not given_cores:
                break
            assert given_cores <= free
            heapq.heappush(running, (now + todo.pop() / amdahl(given_cores), given_cores, now))
            free -= given_cores
        assert running, "it waits, and nothing runs"
        now, used, _ = heapq.heappop(running)
        free += used
    return now / (sum(work) / cores)


@given(st.integers(1, 40), st.integers(1, 24), st.floats(0, 0.5), st.integers())
def test_every_stage_comes_to_its_end_within_its_cores(steps: int, cores: int, spread: float, seed: int) -> None:
    assert makespan(steps, cores, spread, seed) >= 0.999


@pytest.mark.parametrize(
    ("steps", "cores", "limit"), [(3, 2, 1.1), (5, 2, 1.1), (7, 2, 1.1), (5, 8, 1.2), (9, 8, 1.2), (10, 8, 1.2)]
)
def test_the_last_steps_do_not_leave_cores_idle(steps: int, cores: int, limit: float) -> None:
    ratios = [makespan(steps, cores, 0.15, seed) for seed in range(10)]
    assert sum(ratios) / len(ratios) < limit


def test_a_lone_step_gets_all_it_can_use_at_once() -> None:
    assert cores_now(Stage(1, 1, 16, 100.0), 8, [], 8) == 8
    assert cores_now(Stage(1, 1, 4, 100.0), 8, [], 8) == 4


def test_the_last_step_waits_for_a_core_that_is_about_to_come_back_and_not_for_one_that_is_not() -> None:
    assert cores_now(Stage(1, 1, 2, 100.0), 1, [Busy(1, 5.0)], 1) == 0
    assert cores_now(Stage(1, 1, 2, 100.0), 1, [Busy(1, 95.0)], 1) == 1


def test_an_overdue_step_is_not_taken_to_be_about_to_end() -> None:
    assert remaining_s(100.0, 90.0) == pytest.approx(18.0)
    assert remaining_s(100.0, 1000.0) == pytest.approx(200.0)


def test_a_step_that_needs_more_cores_than_are_free_waits() -> None:
    assert cores_now(Stage(1, 2, 4, 100.0), 1, [Busy(3, 50.0)], 2) == 0


def test_a_measured_curve_is_used_where_there_is_one() -> None:
    curve = measured({1: [100.0, 104.0, 96.0], 4: [40.0, 40.0], 2: [1.0]})
    assert curve(1) == 1.0
    assert curve(4) == pytest.approx(2.5)
    assert 1.0 < curve(2) < 2.5  # one measurement alone counts for nothing
    assert 2.5 < curve(8) < 2.5 * 2
    assert measured({2: [10.0, 10.0]})(2) == amdahl(2)


def test_poor_speed_up_keeps_steps_narrow() -> None:
    assert cores_now(Stage(4, 1, 4, 100.0), 4, [], 4, lambda cores: 1.0 + 0.01 * cores) == 1
