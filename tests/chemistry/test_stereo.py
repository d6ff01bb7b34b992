"""Which stereocentres and double bonds an input leaves open."""

from __future__ import annotations

import pytest

from qmrunner.chemistry import graphs
from qmrunner.chemistry.stereo import left_open

OPEN: dict[str, list[tuple[int, ...]]] = {
    "CC(O)F": [(2,)],
    "C[C@H](O)F": [],
    "FC=CF": [(2, 3)],
    "F/C=C/F": [],
    "C=CF": [],
    "CC=NO": [(2, 3)],
    "C/C=N/O": [],
    "CN=NC": [(2, 3)],
    "CC=CC=CC": [(2, 3), (4, 5)],
    # At right angles: allenes, ketenimines, carbodiimides; without a substituent at one end: azides, diazo compounds.
    "CC=C=CC": [],
    "CC=C=NC": [],
    "CN=C=NC": [],
    "CN=[N+]=[N-]": [],
    "CC=[N+]=[N-]": [],
    "CN=C=O": [],
    "C=C=O": [],
    "CC=C=CC(O)F": [(5,)],
    "CC(C=C=CC)=CC": [(2, 7)],
}


@pytest.mark.parametrize("smiles", OPEN)
def test_only_what_has_two_forms_is_open(smiles: str) -> None:
    assert sorted(left_open(graphs.mol_from_smiles(smiles))) == OPEN[smiles]


def test_a_cumulene_with_three_double_bonds_has_two_forms() -> None:
    assert left_open(graphs.mol_from_smiles("CC=C=C=CC"))
