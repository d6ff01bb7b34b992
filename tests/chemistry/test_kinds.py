"""Which kind of atom each carbon and hydrogen is of."""

from __future__ import annotations

import random

import pytest
from rdkit import Chem

from qmrunner.chemistry import graphs
from qmrunner.chemistry.atom_kinds import EXCHANGEABLE, HEAVY_HALOGENS, KINDS, heavy_neighbours, kinds

# Of the heavy atoms in the order written; "-" where the atom is no carbon.
CARBONS = {
    "CCO": "alkyl; sp3 on N or O; -",
    "CN(C)C=O": "sp3 on N or O; -; sp3 on N or O; acid derivative; -",
    "CC(C)(C)C": "alkyl; quaternary; alkyl; alkyl; alkyl",
    "CC(C)C": "alkyl; alkyl; alkyl; alkyl",
    "CC(C)(C)O": "alkyl; sp3 on N or O; alkyl; alkyl; -",
    "CC1(C)C2CCC1(C)C(=O)C2": "alkyl; quaternary; alkyl; alkyl; alkyl; alkyl; quaternary; alkyl; "
    "ketone or aldehyde; -; alkyl",
    "C#CC": "alkyne; alkyne; alkyl",
    "CC#N": "alkyl; nitrile; -",
    "C=CC=O": "alkene; alkene; ketone or aldehyde; -",
    "CC(=O)OC(C)=O": "alkyl; acid derivative; -; -; acid derivative; alkyl; -",
    "O=C1C=CC(=O)C=C1": "-; ketone or aldehyde; alkene; alkene; ketone or aldehyde; -; alkene; alkene",
    "c1ccoc1": "aromatic; aromatic; aromatic; -; aromatic",
    "O=c1cc[nH]cc1": "-; ketone or aldehyde; aromatic; aromatic; -; aromatic; aromatic",
    "CC=NC": "alkyl; C=N; -; sp3 on N or O",
    "C=C=C": "alkene; cumulated; alkene",
    "O=C=O": "-; cumulated; -",
    "CN=C=O": "sp3 on N or O; -; cumulated; -",
    "C1CC1C": "small ring; small ring; small ring; alkyl",
    "O=C1CCC1": "-; small ring; small ring; small ring; small ring",
    "C1CO1": "small ring; small ring; -",
    "FC(F)(F)C": "-; on F; -; -; alkyl",
    "CCl": "on a heavy atom; -",
    "ClC(Cl)Cl": "-; on heavy halogens; -; -",
    "C[Se]C": "on heavy halogens; -; on heavy halogens",
    "C[Zn]C": "on heavy halogens; -; on heavy halogens",
    "ClC(F)F": "-; on a heavy atom; -; -",
    "CSC": "on a heavy atom; -; on a heavy atom",
    "C[Si](C)(C)C": "on a heavy atom; -; on a heavy atom; on a heavy atom; on a heavy atom",
    "c1ccc(Br)cc1": "aromatic; aromatic; aromatic; on heavy halogens; -; aromatic; aromatic",
    "CB(C)C": "other; -; other; other",
    "C[N+]#[C-]": "sp3 on N or O; -; other",
    "C[N+](=O)[O-]": "sp3 on N or O; -; -; -",
    "[C-]#[O+]": "other; -",
    "CC(=O)[O-]": "ion; ion; -; -",
    "C[NH3+]": "ion; -",
}


def kinds_of(smiles: str) -> list[str]:
    mol = graphs.mol_from_smiles(smiles)
    found = kinds(mol)
    return [found[atom.GetIdx() + 1] if atom.GetSymbol() == "C" else "-" for atom in _heavy(mol)]


def _heavy(mol: Chem.Mol) -> list[Chem.Atom]:
    return [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]


@pytest.mark.parametrize("smiles", CARBONS)
def test_a_carbon_is_of_the_kind_that_its_bonds_make_it(smiles: str) -> None:
    assert "; ".join(kinds_of(smiles)) == CARBONS[smiles]


@pytest.mark.parametrize("smiles", CARBONS)
def test_a_hydrogen_on_carbon_is_of_the_kind_of_its_carbon(smiles: str) -> None:
    mol = graphs.mol_from_smiles(smiles)
    found = kinds(mol)
    for atom in mol.GetAtoms():
        if atom.GetSymbol() == "H" and (carbon := atom.GetNeighbors()[0]).GetSymbol() == "C":
            assert found[atom.GetIdx() + 1] == found[carbon.GetIdx() + 1]


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [("O", EXCHANGEABLE), ("CS", EXCHANGEABLE), ("C[NH3+]", EXCHANGEABLE), ("[H][H]", "other"), ("[H]F", "other")],
)
def test_a_hydrogen_elsewhere_is_exchangeable_or_of_no_known_kind(smiles: str, expected: str) -> None:
    mol = graphs.mol_from_smiles(smiles)
    last = max(atom.GetIdx() + 1 for atom in mol.GetAtoms() if atom.GetSymbol() == "H")
    assert kinds(mol)[last] == expected


@pytest.mark.parametrize("smiles", CARBONS)
def test_kinds_depend_on_neither_the_order_of_the_atoms_nor_on_kekule_forms(smiles: str) -> None:
    mol = graphs.mol_from_smiles(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.Random(smiles).shuffle(order)
    moved = Chem.RenumberAtoms(mol, order)
    found, again = kinds(mol), kinds(moved)
    assert {old: found.get(old + 1) for old in order} == {old: again.get(new + 1) for new, old in enumerate(order)}
    plain = graphs.mol_from_smiles(Chem.MolToSmiles(Chem.RemoveHs(mol), kekuleSmiles=True, canonical=False))
    assert sorted(kinds(plain).values()) == sorted(found.values())


def test_every_kind_that_comes_out_is_listed() -> None:
    assert {kind for text in CARBONS.values() for kind in text.split("; ")} - {"-"} == set(KINDS)


@pytest.mark.parametrize("smiles", CARBONS)
def test_heavy_neighbours_are_named_where_a_kind_is_theirs(smiles: str) -> None:
    mol = graphs.mol_from_smiles(smiles)
    uncharged = sum(atom.GetFormalCharge() for atom in mol.GetAtoms()) == 0
    assert (not uncharged) or bool(heavy_neighbours(mol)) == (HEAVY_HALOGENS in kinds(mol).values())


@pytest.mark.parametrize(
    ("smiles", "names"),
    [
        ("CBr", ["Br"]), ("C[Se]C", ["Se"]), ("C[Ge](C)(C)C", ["Ge"]), ("C[Zn]C", ["Zn"]),
        ("ClC(Cl)Cl", ["several Cl"]), ("ClC(Cl)Br", ["Br", "several Cl"]), ("CCl", []),
        ("C[Si](C)(C)C", []), ("BrBr", []),
    ],
)  # fmt: skip
def test_a_warning_names_the_elements_that_are_there(smiles: str, names: list[str]) -> None:
    assert heavy_neighbours(graphs.mol_from_smiles(smiles)) == names
