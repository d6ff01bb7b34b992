"""A worker elsewhere is lost when its beat did not change for a whole lease while the judge's own did."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.failure_detector import STARTING_S, FailureDetector

LEASE, BEAT = 10.0, 1.0


def judge() -> FailureDetector:
    return FailureDetector(LEASE, BEAT)


def test_a_worker_that_beats_is_never_lost() -> None:
    watching = judge()
    for second in range(100):
        assert watching.observe([(1, second // 5)], own_beat=second, now=float(second)) == []


def test_a_worker_that_stalls_for_a_lease_is_lost_with_the_beat_that_was_seen() -> None:
    watching = judge()
    verdicts = [watching.observe([(1, 7)], own_beat=second, now=float(second)) for second in range(12)]
    assert verdicts[9] == []
    assert verdicts[10] == [(1, 7)]


def test_no_worker_is_lost_while_the_judges_own_beats_do_not_go_through() -> None:
    watching = judge()
    assert all(watching.observe([(1, 7)], own_beat=3, now=float(second)) == [] for second in range(1000))


def test_after_an_outage_the_lease_begins_to_count_with_the_judges_own_beats() -> None:
    watching = judge()
    for second in range(100):
        watching.observe([(1, 7)], own_beat=3, now=float(second))
    assert watching.observe([(1, 8)], own_beat=4, now=100.0) == []
    assert watching.observe([(1, 8)], own_beat=14, now=109.0) == []


def test_a_worker_that_never_beat_has_a_minute_to_start() -> None:
    watching = judge()
    verdicts = {second: watching.observe([(1, 0)], own_beat=second, now=float(second)) for second in range(70)}
    assert verdicts[30] == []
    assert verdicts[int(STARTING_S)] == [(1, 0)]


def test_a_worker_that_went_away_and_came_back_begins_again() -> None:
    watching = judge()
    watching.observe([(1, 7)], own_beat=0, now=0.0)
    watching.observe([], own_beat=5, now=5.0)
    assert watching.observe([(1, 7)], own_beat=11, now=11.0) == []


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3), st.integers(0, 5)), max_size=60))
def test_no_schedule_condemns_a_worker_that_beat_within_the_lease(moves: list[tuple[float, int, int]]) -> None:
    """Whatever pauses the judge had: a verdict needs a counter that did not change over a whole lease."""
    watching = judge()
    now, beat, own, changed = 0.0, 1, 0, 0.0
    for pause, more, mine in moves:
        now += pause
        own += mine
        if more:
            beat += more
            changed = now
        for worker, seen in watching.observe([(1, beat)], own, now):
            assert (worker, seen) == (1, beat)
            assert now - changed >= LEASE
