"""Scaling, symmetry and averages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.chemistry import average, structures
from qmrunner.chemistry.exchange import Frame
from qmrunner.chemistry.scaling import line_for
from qmrunner.errors import UsageError

# The published table, word for word.
PUBLISHED = Path(__file__).with_name("published_scaling.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in PUBLISHED.splitlines()
    if re.match(r"\| 1(H|3C) ", row)
]
ALIASES = {"chcl3": "chloroform"}


def groups(smiles: str) -> set[tuple[int, ...]]:
    molecule = structures.read_smiles(smiles)
    assert molecule.bonds is not None
    return set(Frame(molecule.symbols, molecule.bonds, {}).classes())


def test_the_published_table_has_thirteen_solvents_for_two_nuclei() -> None:
    assert len(ROWS) == 26


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_line_equals_the_published_table(row: list[str]) -> None:
    nucleus, solvent, slope, intercept, mae, rmsd, points = row
    line = line_for(nucleus, ALIASES.get(solvent.lower(), solvent.lower()), "production")
    assert (line.slope, line.intercept_ppm) == (float(slope), float(intercept))
    assert (line.mae_ppm, line.rmsd_ppm, line.points) == (float(mae), float(rmsd), int(points))


def test_a_shift_is_intercept_plus_slope_times_shielding() -> None:
    assert line_for("1H", "chloroform", "production").shift(28.0) == pytest.approx(29.91757 - 0.937532 * 28.0)


def test_the_draft_level_has_its_own_line_with_its_errors() -> None:
    proton, carbon = (line_for(nucleus, "chloroform", "draft") for nucleus in ("1H", "13C"))
    assert proton.shift(30.0) == pytest.approx(31.92 + 30.0 * -0.989815)
    assert (proton.points, carbon.points) == (157, 108)
    assert proton.rmsd_ppm == 0.114
    assert carbon.mae_ppm == 1.664
    assert "left out" in str(carbon.note)


def test_the_draft_line_puts_tms_near_zero() -> None:
    # The published shieldings of TMS at this level; silicon neighbours are not among the molecules of the fit.
    assert abs(line_for("1H", "chloroform", "draft").shift(32.15)) < 0.5
    assert abs(line_for("13C", "chloroform", "draft").shift(190.34)) < 5


def test_a_draft_line_used_outside_chloroform_has_a_note() -> None:
    note = line_for("1H", "dmso", "draft").note
    assert note is not None
    assert "chloroform" in note


@pytest.mark.parametrize("asked", [("15N", "chloroform", "draft"), ("1H", "honey", "production"), ("1H", "dmso", "x")])
def test_what_has_no_line_is_refused(asked: tuple[str, str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        line_for(*asked)
    assert caught.value.code == "no_scaling"


def test_ethanol_has_a_methyl_a_methylene_and_a_hydroxyl() -> None:
    assert groups("CCO") == {(1,), (2,), (3,), (4, 5, 6), (7, 8), (9,)}


def test_toluene_has_ortho_meta_and_para_positions() -> None:
    found = groups("Cc1ccccc1")
    assert {(1,), (2,), (3, 7), (4, 6), (5,), (8, 9, 10), (11, 15), (12, 14), (13,)} == found


def test_isopropanol_has_six_equal_methyl_hydrogens() -> None:
    assert groups("CC(C)O") == {(1, 3), (2,), (4,), (5, 6, 7, 9, 10, 11), (8,), (12,)}


def test_groups_do_not_depend_on_kekule_forms_or_on_where_the_bonds_come_from() -> None:
    assert groups("Cc1ccccc1") == groups("CC1=CC=CC=C1")


def test_a_single_atom_is_a_separate_group() -> None:
    assert Frame(("He",), (), {}).classes() == ((1,),)


energies = st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=20)
temperatures = st.floats(50, 1000)


@given(energies, temperatures)
def test_weights_add_up_to_one_and_none_is_negative(values: list[float], temperature: float) -> None:
    weights = average.boltzmann_weights(values, temperature)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()


@given(energies, temperatures, st.floats(-500, 500))
def test_weights_do_not_change_when_all_energies_shift(values: list[float], temperature: float, shift: float) -> None:
    moved = average.boltzmann_weights([value + shift for value in values], temperature)
    assert moved == pytest.approx(average.boltzmann_weights(values, temperature), abs=1e-6)


@given(energies, temperatures, st.randoms())
def test_weights_follow_their_conformers_in_any_order(values: list[float], temperature: float, random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = average.boltzmann_weights([values[i] for i in order], temperature)
    assert mixed == pytest.approx(average.boltzmann_weights(values, temperature)[order])


@given(energies, temperatures)
def test_a_lower_energy_never_weighs_less(values: list[float], temperature: float) -> None:
    weights = average.boltzmann_weights(sorted(values), temperature)
    assert (np.diff(weights) <= 1e-12).all()


def test_a_kilocalorie_at_room_temperature_is_a_factor_of_five() -> None:
    weights = average.boltzmann_weights([0.0, 1 / 627.5094740631], 298.15)
    assert weights[0] / weights[1] == pytest.approx(5.41, abs=0.01)


@pytest.mark.parametrize("bad", [([], 298.0), ([0.0, float("nan")], 298.0), ([0.0], 0.0), ([0.0], float("nan"))])
def test_weights_of_nonsense_are_refused(bad: tuple[list[float], float]) -> None:
    with pytest.raises(ValueError, match=r"energy|temperature"):
        average.boltzmann_weights(*bad)


def test_averages_over_conformers_use_the_weights() -> None:
    assert list(average.over_conformers([[1.0, 10.0], [3.0, 30.0]], [0.75, 0.25])) == [1.5, 15.0]
    with pytest.raises(ValueError, match="do not fit"):
        average.over_conformers([[1.0]], [0.5, 0.5])


def test_atoms_of_a_group_get_their_mean() -> None:
    assert list(average.over_groups([1.0, 2.0, 6.0, 9.0], [(1, 3), (2,), (4,)])) == [3.5, 2.0, 3.5, 9.0]
