"""Real molecules are whole, and the same without a hydrogen on carbon are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from qmrunner.chemistry import foreign, missing_hydrogens
from qmrunner.chemistry.molecule import Point
from tests.chemistry.test_foreign import pdb
from tests.support import ROOT

MOLECULES: list[dict[str, Any]] = json.loads((ROOT / "tests/fixtures/molecules/optimised.json").read_text())[
    "molecules"
]


def structures() -> Iterator[tuple[str, list[str], list[Point], list[int]]]:
    """Name, symbols, coordinates, and the numbers of the hydrogens on carbon."""
    for molecule in MOLECULES:
        symbols = molecule["symbols"].split()
        pairs = [pair for bond in molecule["bonds"] for pair in (bond, bond[::-1])]
        hydrogens = [first for first, second in pairs if symbols[first - 1] == "H" and symbols[second - 1] == "C"]
        yield molecule["name"], symbols, [tuple(point) for point in molecule["gas"]], hydrogens


def without(gone: list[int], symbols: list[str], points: list[Point]) -> tuple[int, ...]:
    left = [at for at in range(len(symbols)) if at + 1 not in gone]
    return missing_hydrogens.carbons([symbols[at] for at in left], [points[at] for at in left])


def test_molecules_are_whole() -> None:
    assert [name for name, symbols, points, _ in structures() if without([], symbols, points)] == ["ylide"]


def test_a_molecule_without_one_of_its_hydrogens_is_not() -> None:
    cases = [(name, without([gone], *atoms)) for name, *atoms, found in structures() for gone in found]
    missed = [name for name, carbons in cases if not carbons]
    assert len(cases) > 800
    assert len(missed) / len(cases) < 0.01, missed


def test_a_molecule_with_hydrogens_on_other_elements_only_is_not() -> None:
    cases = [(name, without(found, *atoms)) for name, *atoms, found in structures() if found]
    assert [name for name, carbons in cases if not carbons] == ["HCN"]


def test_molecules_without_hydrogen_are_read() -> None:
    dioxide = pdb((" C  ", "C", "", 0, 0, 0), (" O1 ", "O", "", 1.16, 0, 0), (" O2 ", "O", "", -1.16, 0, 0))
    monoxide = pdb((" C  ", "C", "", 0, 0, 0), (" O  ", "O", "", 1.13, 0, 0))
    for text in (dioxide, monoxide):
        assert foreign.convert(text, "x.pdb").text.split()[1] == "C"
