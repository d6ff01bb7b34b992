"""Forecasts: from the share of work done and the time it took, a range that narrows, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.eta import Ending, Forecast, in_words


def test_nothing_is_reported_before_there_is_a_history() -> None:
    forecast = Forecast()
    assert forecast.update(100.0, 0.5) is None  # work begins with the first line of progress
    assert forecast.update(150.0, None) is None
    assert forecast.update(150.0, 0.01) is None
    assert forecast.update(150.0, 0.5) is not None


def test_half_of_the_work_in_a_minute_leaves_about_a_minute() -> None:
    forecast = Forecast()
    forecast.update(100.0, 0.0)
    ending = forecast.update(160.0, 0.5)
    assert ending is not None
    assert (ending.low_at + ending.high_at) / 2 == pytest.approx(220.0)
    assert 160.0 < ending.low_at < 220.0 < ending.high_at


def test_an_attempt_that_was_taken_over_is_timed_from_its_own_start() -> None:
    ending = Forecast(begun_at=40.0).update(100.0, 0.5)
    assert ending is not None
    assert (ending.low_at + ending.high_at) / 2 == pytest.approx(160.0)


def test_done_work_leaves_no_time() -> None:
    assert Forecast(begun_at=0.0).update(60.0, 1.0) == Ending(60.0, 60.0)


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.floats(1.0, 1e6))
def test_the_more_is_done_the_narrower_the_range(one: float, other: float, took: float) -> None:
    less, more = (Forecast(begun_at=0.0).update(took, done) for done in sorted((one, other)))
    assert less is not None
    assert more is not None
    assert took <= less.low_at <= less.high_at
    assert more.high_at - more.low_at <= less.high_at - less.low_at + 1e-6


@pytest.mark.parametrize(
    ("low_s", "high_s", "words"),
    [
        (240.0, 420.0, "about 4 to 7 minutes left"),
        (20.0, 40.0, "about 20 to 40 seconds left"),
        (23.0, 87.0, "about 25 to 85 seconds left"),
        (58.0, 62.0, "about 60 seconds left"),
        (7.0, 12.0, "about 7 to 12 seconds left"),
        (179.0, 181.0, "about 3 minutes left"),
        (5400.0, 9000.0, "about 1.5 to 2.5 hours left"),
        (-5.0, 12.0, "at most 12 seconds left"),
        (10.0, 100.0, "at most 2 minutes left"),
        (0.1, 0.4, "about a second left"),
        (-9.0, -1.0, "expected to have ended by now"),
    ],
)
def test_the_range_in_words(low_s: float, high_s: float, words: str) -> None:
    assert in_words(Ending(1000.0 + low_s, 1000.0 + high_s), 1000.0) == words


@given(st.floats(-1e6, 1e7), st.floats(0.0, 1e7))
def test_any_range_has_words(low_s: float, more_s: float) -> None:
    assert in_words(Ending(low_s, low_s + more_s), 0.0)
