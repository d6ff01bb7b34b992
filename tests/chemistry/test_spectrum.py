"""Labels of a spectrum do not run into each other, and stand by their signals as far as there is room."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.chemistry.spectrum import draw_spectrum, spread

PLACES = st.lists(st.floats(0, 10), min_size=1, max_size=40).map(lambda found: sorted(found, reverse=True))


@given(PLACES)
def test_spread_places_are_apart_in_order_and_within_the_axis(places: list[float]) -> None:
    gap = min(0.4, 11.0 / (len(places) + 1))
    found = spread(places, gap, 10.5, -0.5)
    assert all(left - right >= gap - 1e-9 for left, right in itertools.pairwise(found))
    assert found[0] <= 10.5 + 1e-9
    assert found[-1] >= -0.5 - 1e-9


@given(PLACES)
def test_places_that_are_apart_already_stay_where_they_are(places: list[float]) -> None:
    apart = [place + 0.5 * (len(places) - index) for index, place in enumerate(places)]
    assert spread(apart, 0.4, max(apart), min(apart)) == pytest.approx(apart)


def test_a_crowd_is_spread_evenly_around_its_middle() -> None:
    assert spread([5.0, 5.0, 5.0], 1.0, 10.0, 0.0) == pytest.approx([6.0, 5.0, 4.0])
    assert spread([9.9, 9.9], 1.0, 10.0, 0.0) == pytest.approx([10.0, 9.0])


def test_every_signal_of_a_crowded_spectrum_has_its_label_at_a_separate_place(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"symbol": "C", "shift_ppm": 30 + number / 10, "equivalent_atoms": [number]} for number in range(1, 41)
    ]
    draw_spectrum(rows, "13C", tmp_path / "s.svg")
    text = (tmp_path / "s.svg").read_text()
    placed = re.findall(r'translate\(([\d.]+) [\d.]+\) rotate\(-90\)">([\d.]+)  (C\d+)</text>', text)
    assert {label for _, _, label in placed} == {f"C{number}" for number in range(1, 41)}
    across = sorted(float(x) for x, _, _ in placed)
    assert min(right - left for left, right in itertools.pairwise(across)) > 9
