"""A molecule stays the molecule: what counts as a change of its bonds, on structures that xTB optimised."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.chemistry import topology
from qmrunner.chemistry.molecule import Point
from tests.support import ROOT

MOLECULES: list[dict[str, Any]] = json.loads((ROOT / "tests/fixtures/molecules/optimised.json").read_text())[
    "molecules"
]
# Vacuum takes a proton from the ammonium of these to the carboxylate.
MOVED = {"gly zw": "H8 moved from N1 to O4", "ala zw": "H13 moved from N3 to O6", "GABA zw": "H8 moved from N1 to O6"}
MOVED["proline zw"] = "H17 moved from N8 to O1"


def changed(molecule: dict[str, Any], points: list[Point] | str) -> str:
    symbols, bonds = molecule["symbols"].split(), [tuple(pair) for pair in molecule["bonds"]]
    at = molecule[points] if isinstance(points, str) else points
    return topology.described(topology.compare(symbols, bonds, at), symbols, bonds)


def named(name: str) -> dict[str, Any]:
    return next(one for one in MOLECULES if one["name"] == name)


@pytest.mark.parametrize("molecule", MOLECULES, ids=lambda one: one["name"])
def test_an_optimised_structure_has_the_bonds_of_its_molecule_unless_a_proton_moved(molecule: dict[str, Any]) -> None:
    assert changed(molecule, "gas") == MOVED.get(molecule["name"], "")
    assert changed(molecule, "water") == ""


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MOLECULES), st.integers(0, 10_000))
def test_a_structure_that_is_not_quite_relaxed_is_no_alarm(molecule: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    shaken = [tuple(x + chance.uniform(-0.04, 0.04) for x in point) for point in molecule["water"]]
    assert changed(molecule, shaken) == ""


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_atom_that_left_is_named(data: st.DataObject) -> None:
    molecule = data.draw(st.sampled_from([one for one in MOLECULES if len(one["symbols"].split()) > 2]))
    symbols = molecule["symbols"].split()
    ends = [n for n in range(1, len(symbols) + 1) if sum(n in pair for pair in molecule["bonds"]) == 1]
    if not ends:
        return
    number = data.draw(st.sampled_from(ends))
    points = [tuple(point) for point in molecule["water"]]
    points[number - 1] = (points[number - 1][0] + 60.0, *points[number - 1][1:])
    said = changed(molecule, points)
    assert f"{symbols[number - 1]} ({symbols[number - 1]}{number}) left" in said


def test_a_ring_that_opened_and_a_new_bond_are_named_by_their_atoms() -> None:
    molecule = named("cyclobutane")
    symbols, bonds = molecule["symbols"].split(), [tuple(pair) for pair in molecule["bonds"]]
    one = topology.described(topology.Change(broken=((1, 2),)), symbols, bonds)
    assert one == "the bond C1-C2 broke and its ring opened"
    assert topology.described(topology.Change(made=((1, 3),)), symbols, bonds) == "C1-C3 became a bond"


def test_a_shared_proton_has_not_moved() -> None:
    symbols, bonds = ["O", "H", "O", "H"], [(1, 2), (3, 4)]
    halfway = [(0.0, 0.0, 0.0), (1.2, 0.0, 0.0), (2.4, 0.0, 0.0), (3.3, 0.0, 0.0)]
    assert not topology.compare(symbols, bonds, halfway)


def test_a_hydrogen_bridge_of_a_structure_that_was_given_is_left_open() -> None:
    symbols, bonds = ["B", "H", "B"], [(1, 2)]
    bridge = [(0.0, 0.0, 0.0), (0.9, 0.97, 0.0), (1.8, 0.0, 0.0)]
    assert topology.unclear_pairs(symbols, bonds, bridge) == ((1, 3), (2, 3))
    other = [(-3.0, 0.0, 0.0), (1.8, 1.2, 0.0), (1.8, 0.0, 0.0)]
    assert topology.described(topology.compare(symbols, bonds, other), symbols, bonds) == "H2 moved from B1 to B3"
    assert topology.compare(symbols, [], other, unclear=[(2, 3), (1, 2)]) == topology.Change()


def test_a_metal_that_changes_its_partners_stays_and_one_that_leaves_is_named() -> None:
    symbols, bonds = ["O", "C", "O", "Li"], [(1, 2), (2, 3), (1, 4), (3, 4)]
    chelate = [(0.0, 1.1, 0.0), (0.65, 0.0, 0.0), (0.0, -1.1, 0.0), (-1.6, 0.0, 0.0)]
    swung = [*chelate[:3], (-0.6, 2.9, 0.0)]
    gone = [*chelate[:3], (-9.0, 0.0, 0.0)]
    assert not topology.compare(symbols, bonds, chelate)
    assert not topology.compare(symbols, bonds, swung)
    assert "Li (Li4) left" in topology.described(topology.compare(symbols, bonds, gone), symbols, bonds)


def test_the_radii_are_those_of_rdkit() -> None:
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    assert len(topology.RADII) == 86
    off = {symbol for symbol, radius in topology.RADII.items() if abs(radius - table.GetRcovalent(symbol)) > 0.011}
    assert not off


def test_an_element_without_a_radius_is_not_compared() -> None:
    assert not topology.compare(["U", "F"], [(1, 2)], [(0.0, 0.0, 0.0), (9.0, 0.0, 0.0)])
