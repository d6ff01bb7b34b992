"""Peaks are assigned exactly, and the figures say what they should."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.chemistry import comparison, peaks, scaling
from qmrunner.chemistry.candidates import Candidate, weigh
from qmrunner.chemistry.matching import Signal, match
from tests.support import ROOT

DATA = ROOT / "benchmarks" / "data"
SHIFTS = st.lists(st.one_of(st.floats(0, 10), st.integers(0, 4).map(float)), min_size=1, max_size=5)
MOLECULES: dict[str, Any] = json.loads((DATA / "delta50_part.json").read_text())["molecules"]
ANSWERS: dict[str, Any] = json.loads((DATA / "delta50_draft.json").read_text())

# The recorded shieldings of 2-methyl-2-butene and dimethylacetamide are averages over two methyls that are apart.
AVERAGED = ("compound_27", "compound_17")


def rows(key: str) -> list[dict[str, Any]]:
    """The shift rows of a benchmark molecule."""
    found = []
    for nucleus, symbol in (("13C", "C"), ("1H", "H")):
        line = scaling.line_for(nucleus, "chloroform", "draft")
        groups: dict[float, list[int]] = {}
        for row in ANSWERS[key]["shifts"]:
            if row["nucleus"] == nucleus:
                groups.setdefault(row["shielding_ppm"], []).append(row["atom"])
        found += [
            shift_row(nucleus, atom, line.shift(shielding), group, symbol)
            for shielding, group in groups.items()
            for atom in group
        ]
    return found


def shift_row(nucleus: str, atom: int, shift: float, group: list[int], symbol: str, error: float | None = 1.0) -> Any:
    known = {"nucleus": nucleus, "symbol": symbol, "atom": atom, "kind": None}
    return {**known, "shift_ppm": shift, "uncertainty_ppm": error, "equivalent_atoms": group}


def text_of(key: str, *nuclei: str) -> str:
    """The measured list of a benchmark molecule, without assignment."""
    measured = MOLECULES[key]["shifts_ppm"]
    return "\n".join(f"{n}: " + ", ".join(str(v) for v in sorted(set(measured[n].values()))) for n in nuclei)


def cost(signals: list[float], places: list[float], found: list[int | None]) -> float:
    return sum((signals[i] - places[j]) ** 2 for i, j in enumerate(found) if j is not None)


def brute_force(signals: list[float], places: list[float]) -> float:
    """The least cost over all assignments: injective with enough peaks, else onto all peaks."""
    enough = len(places) >= len(signals)
    return min(
        cost(signals, places, list(way))
        for way in itertools.product(range(len(places)), repeat=len(signals))
        if len(set(way)) == (len(signals) if enough else len(places))
    )


@settings(max_examples=400, deadline=None)
@given(SHIFTS, SHIFTS)
def test_the_assignment_equals_brute_force(signals: list[float], places: list[float]) -> None:
    found = match([Signal(ppm, (i,)) for i, ppm in enumerate(signals)], places)
    assert None not in found
    assert len(set(found)) == min(len(signals), len(places))
    assert cost(signals, places, found) == pytest.approx(brute_force(signals, places), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(SHIFTS, SHIFTS, st.data())
def test_what_the_user_assigned_stays_and_the_rest_equals_brute_force(
    signals: list[float], places: list[float], data: st.DataObject
) -> None:
    i, j = data.draw(st.integers(0, len(signals) - 1)), data.draw(st.integers(0, len(places) - 1))
    found = match([Signal(ppm, (n,)) for n, ppm in enumerate(signals)], places, {i: j})
    assert found[i] == j
    rest = [n for n in range(len(signals)) if n != i]
    free = [n for n in range(len(places)) if n != j]
    ways = [
        way
        for way in itertools.product(range(len(places)), repeat=len(rest))
        if (set(way) <= set(free) and len(set(way)) == len(rest) if len(free) >= len(rest) else set(free) <= set(way))
    ]
    least = min(sum((signals[n] - places[m]) ** 2 for n, m in zip(rest, way, strict=True)) for way in ways)
    own = sum((signals[n] - places[m]) ** 2 for n in rest if (m := found[n]) is not None)
    assert own == pytest.approx(least, abs=1e-9)


def test_signals_that_exchange_get_what_is_left() -> None:
    signals = [Signal(2.6, (9,), exchanges=True), Signal(3.7, (4, 5)), Signal(1.2, (6, 7, 8))]
    assert match(signals, [3.6, 1.2]) == [None, 0, 1]
    assert match(signals, [3.6, 1.2, 5.3]) == [2, 0, 1]
    assert match(signals[:1], [5.0, 2.5]) == [1]
    assert match([], [1.0]) == []
    assert match(signals, []) == [None, None, None]


def test_counts_say_how_many_atoms_a_peak_has() -> None:
    phenyl = [Signal(7.9, (1, 2)), Signal(7.6, (3,)), Signal(7.5, (4, 5)), Signal(2.6, (6, 7, 8))]
    assert match(phenyl, [7.95, 7.45, 2.6], counts=[2, 3, 3]) == [0, 1, 1, 2]
    assert match(phenyl, [7.95, 7.45, 2.6], counts=[3, 2, 3]) == [0, 0, 1, 2]
    # Counts that no assignment has are not used.
    assert match(phenyl, [7.95, 7.45, 2.6], counts=[1, 4, 3]) == [0, 1, 1, 2]


def test_counts_leave_a_peak_for_a_proton_that_exchanges_wherever_it_was_computed() -> None:
    acid = [Signal(7.9, (1,)), Signal(7.2, (2,)), Signal(6.1, (9,), exchanges=True), Signal(2.0, (3, 4, 5))]
    assert match(acid, [11.0, 8.1, 7.1, 2.3], counts=[1, 1, 1, 3]) == [1, 2, 0, 3]
    assert match(acid, [8.1, 7.1, 2.3], counts=[1, 1, 3]) == [0, 1, None, 2]
    assert match(acid, [8.1, 7.1, 5.0, 2.3], counts=[1, 1, 1, 3]) == [0, 1, 2, 3]


def test_a_large_molecule_is_matched_quickly() -> None:
    signals = [Signal(float(i % 200) + 0.1, (i,)) for i in range(500)]
    assert len(set(match(signals, [float(i) for i in range(200)]))) == 200


@pytest.mark.parametrize("key", ANSWERS)
def test_measured_lists_of_the_benchmark_are_assigned_as_its_authors_did(key: str) -> None:
    for nucleus in ("13C", "1H"):
        measured = MOLECULES[key]["shifts_ppm"][nucleus]
        found = peaks.read(text_of(key, nucleus)).of(nucleus)
        assert found is not None
        seen = comparison.compare(rows(key), found, "draft")
        wrong = [row for row in seen["signals"] if row["measured_ppm"] != measured.get(str(row["atoms"][0]))]
        assert key in AVERAGED or not wrong, seen["signals"]
        assert len(seen["unassigned"]) == (key in AVERAGED)
        assert not any("reference" in text for text in seen["sentences"])
        assert seen["rank"]["molecules"] == 25


def test_another_reference_is_noticed() -> None:
    found = peaks.read("172.4, 47.6, 18.0").of("13C")
    assert found is not None
    shifts = [(1, 178.4), (2, 54.1), (3, 23.9)]
    seen = comparison.compare([shift_row("13C", a, s, [a], "C") for a, s in shifts], found, "draft")
    assert seen["sentences"][0].startswith(
        "all measured shifts are 6.1 ppm low on average, more than usual: another reference?"
    )
    assert seen["statistics"]["all"]["mean_ppm"] == pytest.approx(6.1333, abs=1e-3)
    assert seen["rank"]["better"] == 25


def test_exchangeable_hydrogens_are_kept_apart() -> None:
    found = peaks.read("3.7, 1.2, 5.3").of("1H")
    assert found is not None
    table = [
        shift_row("1H", 4, 3.6, [4, 5], "H"),
        shift_row("1H", 5, 3.6, [4, 5], "H"),
        shift_row("1H", 6, 1.2, [6], "H"),
        shift_row("1H", 7, 0.4, [7], "H", None),
    ]
    seen = comparison.compare(table, found, "draft")
    assert seen["statistics"]["all"]["largest_ppm"] == pytest.approx(-4.9)
    assert seen["statistics"]["without_exchangeable"]["signals"] == 2
    assert seen["statistics"]["without_exchangeable"]["rmsd_ppm"] == pytest.approx(0.0707, abs=1e-4)


def test_a_peak_for_an_atom_that_has_no_signal_is_a_problem() -> None:
    found = peaks.read("20.1 (C9), 18 (C1), 17 (C1)", nucleus="13C").of("13C")
    assert found is not None
    seen = comparison.compare([shift_row("13C", 1, 18.2, [1], "C")], found, "draft")
    assert len(seen["problems"]) == 2
    assert seen["signals"][0]["measured_ppm"] == 18.0
    assert seen["signals"][0]["fixed"]


def candidate(key: str, level: str = "draft") -> Candidate:
    return Candidate(MOLECULES[key]["name"], rows(key), level, "chloroform", key, "any")


def test_the_right_isomer_comes_first_and_its_control_agrees() -> None:
    pair = ["compound_23", "compound_25"]  # pyrimidine, pyridazine
    for right in pair:
        seen = weigh([candidate(key) for key in pair], peaks.read(text_of(right, "13C", "1H")))
        best = max(seen["candidates"], key=lambda one: one["probability"])
        other = min(seen["candidates"], key=lambda one: one["probability"])
        assert best["name"] == MOLECULES[right]["name"]
        assert sum(one["probability"] for one in seen["candidates"]) == pytest.approx(1, abs=1e-5)
        assert best["as_good"] < seen["decoys"] // 10 < other["as_good"]
        assert seen["nuclei"] == ["13C", "1H"]
        assert seen == weigh([candidate(key) for key in pair], peaks.read(text_of(right, "13C", "1H")))


def test_no_wrong_molecule_beats_the_right_one_by_its_carbons() -> None:
    keys = list(ANSWERS)[:5]
    for right, wrong in itertools.permutations(keys, 2):
        seen = weigh([candidate(right), candidate(wrong)], peaks.read(text_of(right, "13C")))
        assert seen["candidates"][0]["probability"] > 0.5, (right, wrong)


def test_no_probability_without_ground() -> None:
    one, two = candidate("compound_23"), candidate("compound_25")
    text = peaks.read(text_of("compound_23", "13C"))
    cases = [
        ([one], text, "at least two"),
        ([one, candidate("compound_23")], text, "same molecule"),
        ([candidate("compound_23", "production"), candidate("compound_25", "production")], text, "production"),
        ([one, candidate("compound_25", "quick")], text, "different levels"),
        ([one, two], peaks.read(""), "no measured peaks"),
    ]
    for candidates, measured, words in cases:
        seen = weigh(candidates, measured)
        assert words in seen["reason"]
        assert all(each["probability"] is None for each in seen["candidates"])


def test_the_residuals_are_those_of_the_benchmark() -> None:
    assert set(comparison.residuals()) == set(scaling.OWN_METHODS)
    for nuclei in comparison.residuals().values():
        for data in nuclei.values():
            assert sum(one["signals"] for one in data["molecules"]) == data["signals"]
            assert data["freedom"] < len(data["molecules"])
