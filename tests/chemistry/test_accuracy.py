"""The ± of a shift: recomputed from the recorded shieldings, and what it covers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import fitting
from qmrunner.chemistry import scaling
from qmrunner.chemistry.accuracy import Accuracy, Seen, accuracy_of, half_width, within
from qmrunner.chemistry.atom_kinds import KINDS
from qmrunner.chemistry.scaling import line_for

SCIENCE = (Path(__file__).parents[2] / "docs" / "explanation" / "science.md").read_text(encoding="utf-8")
CASES = [(level, nucleus) for level in fitting.LEVELS for nucleus in fitting.NUCLEI]
levels = pytest.mark.parametrize(("level", "nucleus"), CASES)
rms = st.floats(0.0, 20.0)


def measured(level: str, nucleus: str) -> list[fitting.Point]:
    rows = fitting.answers(fitting.DATA / f"delta50_{level}.json", level)
    return fitting.points(nucleus, rows, fitting.molecules())


def row(level: str, nucleus: str, kind: str | None) -> str:
    """A row of the table in docs/explanation/science.md."""
    known = accuracy_of(nucleus, "chloroform", level)
    digits = 2 if nucleus == "1H" else 1
    seen = known.kinds.get(kind or "", Seen(0, known.unseen_rms_ppm))
    ends = f"{seen.molecules} | {seen.rms_ppm:.{digits}f} | {known.uncertainty_ppm(kind):.{digits}f}"
    return f"| {level} | {nucleus} | {kind or 'any other'} | {ends} |"


def test_what_the_program_uses_is_what_the_recorded_shieldings_give() -> None:
    assert fitting.fitted() == scaling.fitted()


@levels
def test_the_table_in_the_documentation_is_what_the_program_uses(level: str, nucleus: str) -> None:
    known = accuracy_of(nucleus, "chloroform", level)
    expected = [row(level, nucleus, kind) for kind in [*known.kinds, None]]
    assert [line for line in SCIENCE.splitlines() if line.startswith(f"| {level} | {nucleus} | ")] == expected


@levels
def test_the_share_within_the_uncertainty_is_the_one_stated(level: str, nucleus: str) -> None:
    chosen = measured(level, nucleus)
    line = fitting.given(nucleus, level)
    shares = []
    for part in (lambda p: p.molecule, lambda p: p.kind):
        cases = fitting.missed(chosen, part, line)
        shares += [f"{fitting.coverage(cases):.0%}", f"{fitting.coverage(cases, 2):.0%}"]
    assert f"| {level} {nucleus} | {len(chosen)} | {' | '.join(shares)} |" in SCIENCE


@levels
def test_of_molecules_kept_out_two_thirds_lie_within_and_nine_tenths_within_twice(level: str, nucleus: str) -> None:
    cases = fitting.missed(measured(level, nucleus), lambda p: p.molecule, fitting.given(nucleus, level))
    assert fitting.coverage(cases) > 0.63
    assert fitting.coverage(cases, 2) > 0.9


@levels
def test_of_whole_kinds_kept_out_two_thirds_lie_within(level: str, nucleus: str) -> None:
    cases = fitting.missed(measured(level, nucleus), lambda p: p.kind, fitting.given(nucleus, level))
    assert fitting.coverage(cases) > 0.67
    assert fitting.coverage(cases, 2) > 0.9


@levels
def test_a_kind_never_seen_is_less_certain_than_any_common_one(level: str, nucleus: str) -> None:
    known = accuracy_of(nucleus, "chloroform", level)
    common = [kind for kind, seen in known.kinds.items() if seen.molecules >= 3]
    assert all(known.uncertainty_ppm(None) > known.uncertainty_ppm(kind) for kind in common)
    assert known.uncertainty_ppm("no such kind") == known.uncertainty_ppm(None)
    assert set(known.kinds) <= set(KINDS)


# JCGM 100:2008, table G.2, for 68.27 %.
T_VALUES = [(1, 1.84), (2, 1.32), (3, 1.20), (4, 1.14), (5, 1.11), (10, 1.05), (20, 1.03), (50, 1.01)]


@pytest.mark.parametrize(("freedom", "expected"), T_VALUES)
def test_the_half_width_is_that_of_student_s_t(freedom: int, expected: float) -> None:
    assert round(half_width(freedom), 2) == expected


@given(st.integers(1, 60), st.floats(0.0, 5.0))
def test_the_probability_within_t_is_the_integral_of_the_density(freedom: int, t: float) -> None:
    x = np.linspace(-60.0, 60.0, 240_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    inside = np.trapezoid(np.where(np.abs(x) <= t, density, 0.0), x)
    tail = 1.1 / 60 if freedom == 1 else 1e-3
    assert within(t, freedom) == pytest.approx(inside / np.trapezoid(density, x), abs=2e-3 + tail)


@given(st.integers(0, 200), rms, st.floats(0.1, 20.0))
def test_the_uncertainty_goes_from_that_of_a_kind_never_seen_to_the_rms(
    molecules: int, own: float, other: float
) -> None:
    known = Accuracy(other, {"alkyl": Seen(molecules, own)} if molecules else {})
    found = known.uncertainty_ppm("alkyl") / half_width(molecules + 1)
    assert min(own, other) - 1e-3 <= found <= max(own, other) + 1e-3
    more = Accuracy(other, {"alkyl": Seen(molecules + 1, own)}).uncertainty_ppm("alkyl")
    assert own > other or more <= known.uncertainty_ppm("alkyl") + 1e-3


@pytest.mark.parametrize("nucleus", fitting.NUCLEI)
def test_in_another_solvent_the_uncertainty_follows_the_rmsd_of_its_line(nucleus: str) -> None:
    here, there = (accuracy_of(nucleus, solvent, "production") for solvent in ("chloroform", "vacuum"))
    ratio = line_for(nucleus, "vacuum", "production").rmsd_ppm / line_for(nucleus, "chloroform", "production").rmsd_ppm
    for kind in (*here.kinds, None):
        assert there.uncertainty_ppm(kind) == pytest.approx(ratio * here.uncertainty_ppm(kind), abs=2e-3)


def test_the_formula_stated_in_the_documentation_is_the_one_used() -> None:
    known = accuracy_of("13C", "chloroform", "draft")
    seen = known.kinds["nitrile"]
    scale = np.sqrt((known.unseen_rms_ppm**2 + seen.molecules * seen.rms_ppm**2) / (seen.molecules + 1))
    assert known.uncertainty_ppm("nitrile") == pytest.approx(half_width(seen.molecules + 1) * scale, abs=1e-3)
    assert re.search(r"±² = t² \(s₀² \+ n·s²\) / \(n \+ 1\)", SCIENCE)
