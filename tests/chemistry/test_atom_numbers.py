"""Charges, mass numbers and hydrogens that RDKit would silently take for other ones are refused; possible ones stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.chemistry.atom_numbers import LARGEST
from qmrunner.chemistry.graphs import mol_from_smiles, mols_from_molfile
from qmrunner.errors import UsageError

V3000 = """
  test

  0  0  0     0  0            999 V3000
M  V30 BEGIN CTAB
M  V30 COUNTS 1 0 0 0 0
M  V30 BEGIN ATOM
M  V30 1 U 0.0 0.0 0.0 0 {}
M  V30 END ATOM
M  V30 END CTAB
M  END
"""
V2000 = """
  test

  2  0  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 U   0  0  0  0  0  0  0  0  0  0  0  0
    9.0000    0.0000    0.0000 U   0  0  0  0  0  0  0  0  0  0  0  0
{}
M  END
"""


def _molfile(text: str) -> Any:
    return mols_from_molfile(text, "x.mol")[0]


WRITTEN: dict[str, tuple[str, Callable[[int], Any]]] = {
    "charge of a SMILES": ("charge", lambda n: mol_from_smiles(f"[U{n:+d}]")),
    "mass number of a SMILES": ("mass number", lambda n: mol_from_smiles(f"[{abs(n)}U]")),
    "charge of V3000": ("charge", lambda n: _molfile(V3000.format(f"CHG={n}"))),
    "mass number of V3000": ("mass number", lambda n: _molfile(V3000.format(f"MASS={abs(n)}"))),
    "charge of V2000": ("charge", lambda n: _molfile(V2000.format(f"M  CHG  2   2   1   1{n:4d}"))),
    "mass number of V2000": ("mass number", lambda n: _molfile(V2000.format(f"M  ISO  1   1{abs(n):4d}"))),
}


@pytest.mark.parametrize("name", WRITTEN)
@given(data=st.data())
def test_a_possible_number_is_the_atoms_own_and_another_is_refused(name: str, data: st.DataObject) -> None:
    what, read = WRITTEN[name]
    widest = 999 if "V2000" in name else 10**12
    number = data.draw(st.one_of(st.integers(-999, 999), st.integers(-widest, widest)))
    if abs(number) > LARGEST[what]:
        with pytest.raises(UsageError) as refused:
            read(number)
        assert refused.value.code == "number_too_large"
        assert str(abs(number))[:4] in refused.value.message
    else:
        atom = read(number).GetAtomWithIdx(0)
        found = atom.GetFormalCharge() if what == "charge" else atom.GetIsotope()
        assert found == (number if what == "charge" else abs(number))


@pytest.mark.parametrize(
    "smiles", ["[65549CH4]", "[CH260]", "[C+999999999]", "C[N+4]CC[C-200]", "[C-256](=O)", "[CH4+00300]", "[1000C]"]
)
def test_a_smiles_with_an_impossible_number_names_the_atom(smiles: str) -> None:
    with pytest.raises(UsageError) as refused:
        mol_from_smiles(smiles)
    assert refused.value.code == "number_too_large"
    assert refused.value.evidence
    assert refused.value.evidence in smiles


def test_large_numbers_that_are_no_property_of_an_atom_are_read() -> None:
    assert mol_from_smiles("[CH3:70000][OH:12345]").GetNumHeavyAtoms() == 2
    assert mol_from_smiles("[13CH4]").GetAtomWithIdx(0).GetIsotope() == 13
    assert mol_from_smiles("[Fe+3]").GetAtomWithIdx(0).GetFormalCharge() == 3
