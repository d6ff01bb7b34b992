"""Molecules from SMILES, MOL and SDF; charge, multiplicity, fragments, elements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from qmrunner.chemistry import elements, structures
from qmrunner.chemistry.molecule import (
    Molecule,
    choose_multiplicity,
    close_pair,
    formula,
    fragments,
    possible_multiplicities,
)
from qmrunner.errors import UsageError

WATER = b"3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


def code_of(call: object, *arguments: object, **named: object) -> str:
    with pytest.raises(UsageError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.code


def block(smiles: str, *, solid: bool, hydrogens: bool = True) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, 7)
    if not solid:
        mol.RemoveAllConformers()
    return str(Chem.MolToMolBlock(mol if hydrogens else Chem.RemoveHs(mol)))


def test_a_smiles_gives_heavy_atoms_in_its_order_and_hydrogens_after_them() -> None:
    ethanol = structures.read_smiles("OCC")
    assert ethanol.symbols == ("O", "C", "C", "H", "H", "H", "H", "H", "H")
    assert ethanol.smiles == "CCO"
    assert ethanol.coordinates is None


def test_hydrogens_written_in_a_smiles_keep_their_place() -> None:
    assert structures.read_smiles("[H]OC").symbols[:3] == ("H", "O", "C")


def test_the_charge_of_a_smiles_is_the_sum_of_its_formal_charges() -> None:
    assert structures.complete(structures.read_smiles("C[NH3+]")).charge == 1
    assert structures.complete(structures.read_smiles("CC(=O)[O-]")).charge == -1


@pytest.mark.parametrize("smiles", ["CC((", "C(C)(C)(C)(C)C", "c1cccc1", "not a smiles", "C1CC"])
def test_an_invalid_smiles_is_refused_with_a_reason(smiles: str) -> None:
    with pytest.raises(UsageError) as caught:
        structures.read_smiles(smiles)
    assert caught.value.code == "invalid_smiles"
    assert caught.value.evidence
    assert caught.value.remedy


def test_the_place_of_a_mistake_in_a_smiles_is_reported() -> None:
    with pytest.raises(UsageError, match="position 4"):
        structures.read_smiles("CC((")


def test_an_empty_smiles_and_a_wildcard_are_refused() -> None:
    assert code_of(structures.read_smiles, " ") == "empty_smiles"
    assert code_of(structures.read_smiles, "*C") == "unknown_element"


@pytest.mark.parametrize("suffix", [".mol", ".sdf"])
@pytest.mark.parametrize("solid", [True, False])
def test_mol_and_sdf_round_trip_atoms_bonds_and_smiles(suffix: str, solid: bool) -> None:
    text = block("C[C@H](O)C(=O)N", solid=solid) + ("$$$$\n" if suffix == ".sdf" else "")
    (found,) = structures.read_structures(text.encode(), "mol" + suffix)
    same = structures.read_smiles("C[C@H](O)C(=O)N")
    assert (found.symbols, found.bonds) == (same.symbols, same.bonds)
    assert (found.coordinates is not None) is solid
    if solid:
        assert found.smiles == same.smiles


def test_a_mol_file_without_hydrogens_gets_them_with_positions() -> None:
    (found,) = structures.read_structures(block("CCO", solid=True, hydrogens=False).encode(), "mol.mol")
    assert found.symbols == ("C", "C", "O", *"HHHHHH")
    assert found.coordinates is not None
    assert close_pair(found.coordinates) is None


def test_an_sdf_with_two_molecules_gives_both() -> None:
    text = block("CCO", solid=True) + "> <x>\n1\n\n$$$$\n" + block("CO", solid=True) + "$$$$\n"
    assert [formula(m.symbols) for m in structures.read_structures(text.encode(), "two.sdf")] == ["C2H6O", "CH4O"]


def test_a_cut_mol_file_is_refused() -> None:
    text = "\n".join(block("CCO", solid=True).split("\n")[:8])
    assert code_of(structures.read_structures, text.encode(), "mol.mol") == "unreadable_structure"


def test_text_that_is_no_mol_block_is_refused() -> None:
    assert code_of(structures.read_structures, b"hello\n", "mol.mol") == "unreadable_structure"


@pytest.mark.parametrize("v3000", [True, False])
def test_a_decimal_comma_in_a_mol_file_is_recognised(v3000: bool) -> None:
    mol = Chem.MolFromMolBlock(block("CCO", solid=True), removeHs=False)
    text = Chem.MolToV3KMolBlock(mol) if v3000 else Chem.MolToMolBlock(mol)
    assert structures.read_structures(text.encode(), "m.mol")
    row = next(row for row in text.split("\n") if " C " in row)
    assert code_of(structures.read_structures, text.replace(row, row.replace(".", ",")).encode(), "m.mol") == (
        "decimal_comma"
    )


@pytest.mark.parametrize("word", ["nan", "inf"])
def test_a_mol_file_with_a_coordinate_that_is_not_finite_is_refused(word: str) -> None:
    text = block("CCO", solid=True)
    row = text.split("\n")[4]
    broken = text.replace(row, f"{word:>10}" + row[10:])
    assert code_of(structures.read_structures, broken.encode(), "m.mol") in ("not_finite", "unreadable_structure")


def test_an_impossible_valence_in_a_mol_file_is_refused_with_the_reason() -> None:
    mol = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    with pytest.raises(UsageError, match="valence") as caught:
        structures.read_structures(Chem.MolToMolBlock(mol, kekulize=False).encode(), "mol.mol")
    assert caught.value.code == "invalid_structure"


def test_overlapping_atoms_in_a_mol_file_are_refused() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CO"))
    rdDistGeom.EmbedMolecule(mol, 7)
    mol.GetConformer().SetAtomPosition(1, mol.GetConformer().GetAtomPosition(0))
    assert code_of(structures.read_structures, Chem.MolToMolBlock(mol).encode(), "m.mol") == "atoms_overlap"


@pytest.mark.parametrize("name", ["a.xyz", "a.mol", "a.sdf"])
def test_an_empty_file_is_refused_in_every_format(name: str) -> None:
    assert code_of(structures.read_structures, b" \n", name) == "empty_file"


def test_a_binary_file_and_an_unknown_ending_are_refused() -> None:
    assert code_of(structures.read_structures, b"\xff\xfe\x00", "a.xyz") == "unreadable_file"
    assert code_of(structures.read_structures, b"3\0\n", "a.xyz") == "unreadable_file"
    assert code_of(structures.read_structures, WATER, "a.mol2") == "unknown_format"


def test_bonds_and_smiles_of_an_xyz_are_perceived_from_distances() -> None:
    (water,) = structures.read_structures(WATER, "w.xyz")
    found = structures.complete(water)
    assert found.bonds == ((1, 2), (1, 3))
    assert found.smiles == "O"
    assert (found.charge, found.multiplicity) == (0, 1)


def test_an_xyz_takes_the_charge_given() -> None:
    (water,) = structures.read_structures(WATER, "w.xyz")
    assert structures.complete(water, charge=1, multiplicity=2).multiplicity == 2


def test_a_charge_that_contradicts_the_structure_is_refused() -> None:
    assert code_of(structures.complete, structures.read_smiles("CCO"), 1) == "charge_mismatch"


def test_an_charge_multiplicity_names_the_possible_ones() -> None:
    with pytest.raises(UsageError, match="possible are 1, 3, 5, 7") as caught:
        choose_multiplicity(("O", "H", "H"), 0, 2)
    assert caught.value.code == "charge_multiplicity"
    with pytest.raises(UsageError, match="possible are 2, 4") as caught:
        choose_multiplicity(("O", "H", "H"), 1, None)
    assert caught.value.remedy is not None
    assert "--mult 2" in caught.value.remedy


@pytest.mark.parametrize("multiplicity", [0, -1, 13])
def test_a_multiplicity_no_electrons_can_have_is_refused(multiplicity: int) -> None:
    assert code_of(choose_multiplicity, ("O", "H", "H"), 0, multiplicity) == "charge_multiplicity"


def test_a_charge_that_takes_all_electrons_is_refused() -> None:
    assert code_of(choose_multiplicity, ("H",), 1, None) == "no_electrons"


@given(st.integers(1, 500))
def test_possible_multiplicities_have_the_parity_of_the_electrons(electrons: int) -> None:
    found = possible_multiplicities(electrons)
    assert found
    assert all((m - 1) % 2 == electrons % 2 and m <= electrons + 1 for m in found)


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "CCO.O", "CC(=O)[O-].[Na+]"])
def test_salts_and_mixtures_are_refused(smiles: str) -> None:
    assert code_of(structures.check_one_fragment, structures.read_smiles(smiles)) == "several_fragments"


def test_an_xyz_of_two_molecules_is_refused_as_a_mixture() -> None:
    text = WATER.replace(b"3\n", b"4\n", 1) + b"Ar 9 9 9\n"
    (both,) = structures.read_structures(text, "w.xyz")
    assert code_of(structures.check_one_fragment, structures.complete(both)) == "several_fragments"


def test_an_element_outside_the_basis_is_named_with_its_atom() -> None:
    with pytest.raises(UsageError, match=r"for I \(atom 2\)") as caught:
        structures.check_elements(structures.read_smiles("CI"), elements.up_to("Kr"), "6-31G*", "leave it out")
    assert caught.value.code == "element_outside_basis"


def test_fragments_are_lists_of_atom_numbers() -> None:
    assert fragments(5, [(1, 2), (4, 5)]) == [[1, 2], [3], [4, 5]]


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=2, max_size=30))
def test_the_closest_pair_is_the_one_that_trying_all_pairs_finds(points: list[tuple[float, float, float]]) -> None:
    import math

    best = min(math.dist(points[i], points[j]) for i in range(len(points)) for j in range(i))
    found = close_pair(points)
    assert (found is not None) is (best < 0.5)
    if found is not None:
        assert found[2] == best


def test_a_molecule_knows_its_electrons() -> None:
    assert Molecule(("O", "H", "H"), charge=-1).electrons == 11
