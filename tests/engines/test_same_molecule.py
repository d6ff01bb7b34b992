"""Engines compare the structure they left with the molecule of the job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry.xyz import write_xyz
from qmrunner.engines import same_molecule
from tests.support import ROOT

MOLECULES = {
    one["name"]: one for one in json.loads((ROOT / "tests/fixtures/molecules/optimised.json").read_text())["molecules"]
}


def params(name: str, **more: Any) -> dict[str, Any]:
    one = MOLECULES[name]
    return {"atoms": one["symbols"].split(), "bonds": one["bonds"], "alpb": None, **more}


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Glycine's zwitterion, as vacuum left it."""
    one = MOLECULES["gly zw"]
    path = tmp_path / "xtbopt.xyz"
    path.write_text(write_xyz(one["symbols"].split(), one["gas"], "energy"))
    return path


def test_a_proton_that_moved_fails_with_its_atoms_and_what_to_do(moved: Path) -> None:
    finding, notes = same_molecule.changed(params("gly zw"), moved)
    assert finding is not None
    assert (finding.code, finding.failure_class) == ("topology_changed", "method")
    assert finding.evidence.text == "it became another molecule: H8 moved from N1 to O4"
    assert "--solvent water" in finding.remedy
    assert notes == ()


def test_in_a_solvent_no_solvent_is_advised(moved: Path) -> None:
    for words in ({"alpb": "water"}, {"cosmo": "h2o"}):
        finding, _ = same_molecule.changed(params("gly zw") | words, moved)
        assert finding is not None
        assert "--solvent" not in finding.remedy
        assert "--allow-topology-change" in finding.remedy


def test_an_accepted_change_is_a_note(moved: Path) -> None:
    finding, (note,) = same_molecule.changed(params("gly zw", allow_topology_change=True), moved)
    assert finding is None
    assert "H8 moved from N1 to O4" in note


def test_nothing_is_compared_where_no_bonds_are_known_or_no_structure_is_there(moved: Path, tmp_path: Path) -> None:
    assert same_molecule.changed(params("gly zw", bonds=None), moved) == (None, ())
    assert same_molecule.changed(params("gly zw"), tmp_path / "missing.xyz") == (None, ())
