"""What an input leaves open is refused or noted: bonds without an order, extensions, names, charges, hydrogens."""

from __future__ import annotations

from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from qmrunner.chemistry import structures
from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from qmrunner.submission.request import MoleculeRequest

WATER = "O 0 0 0.117\nH 0 0.757 -0.47\nH 0 -0.757 -0.47\n"
OXONIUM = "O 0 0 0\nH 0.97 0 0.2\nH -0.49 0.84 0.2\nH -0.49 -0.84 0.2\n"


def refused(call: object, *arguments: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.remedy
    return caught.value


def water(order: int) -> bytes:
    places = (("O", 0.0, 0.1), ("H", 0.8, -0.5), ("H", -0.8, -0.5))
    rows = "".join(f"    0.0000{y:10.4f}{z:10.4f} {element}   0  0\n" for element, y, z in places)
    head = "w\n  qm\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
    return f"{head}{rows}  1  2  1  0\n  1  3{order:3d}  0\nM  END\n".encode()


def noted(path: Path, *args: str, kind: str = "xtb") -> list[str]:
    made = {"xtb": job_kinds.xtb, "crest": job_kinds.crest}[kind](str(path), args)
    return [note for note in made.params.get("notes", ()) if "rows of bonds" not in note]


# Hydrogens were added where such a bond ends: water became OH4.
@pytest.mark.parametrize("order", [0, 5, 6, 7, 8, 10])
def test_a_bond_without_a_definite_order_is_refused(order: int) -> None:
    error = refused(structures.read_structures, water(order), "w.mol")
    assert (error.code, error.evidence) == ("invalid_structure", "atoms 1 and 3")


@pytest.mark.parametrize(("smiles", "code"), [("C~C", "invalid_smiles"), ("O~[Na]", "invalid_smiles")])
def test_a_bond_of_any_order_in_a_smiles_is_refused(smiles: str, code: str) -> None:
    assert refused(structures.read_smiles, smiles).code == code


@pytest.mark.parametrize("smiles", ["C=C", "c1ccccc1", "C#N", "[NH3]->[Fe]", "C1=CC=CC=C1"])
def test_other_bonds_are_read(smiles: str) -> None:
    assert structures.read_smiles(smiles).bonds


@pytest.mark.parametrize(
    "extension", ["^1:0", "^3:1,2", "C:0.1", "H:1.2", "m:0:1.2", "$_R1;;$", "$;;_AP1$", "Sg:n:1::ht"]
)
def test_an_extension_that_changes_the_molecule_is_refused(extension: str) -> None:
    assert refused(structures.read_smiles, f"CCO |{extension}|").code == "invalid_smiles"


@pytest.mark.parametrize("extension", ["&1:1", "o1:1", "r", "a:1", "$;;OH$", "(0,0,;1,0,;2,0,)", "c:0", "wU:1.0"])
def test_an_extension_of_stereo_groups_labels_or_places_is_not(extension: str) -> None:
    assert structures.read_smiles(f"CCO |{extension}|").symbols == structures.read_smiles("CCO").symbols


def pdb(name: str, element: str = "", location: str = " ") -> str:
    places = ((0.0, 0.0, 0.0), (1.12, 1.12, 1.12), (-0.63, -0.63, 0.63), (-0.63, 0.63, -0.63), (0.63, -0.63, -0.63))
    names = (" C1 ", name, " H1 ", " H2 ", " H3 ")
    rows = (
        f"HETATM{n:5d} {field}{location if n == 2 else ' '}LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
        f"          {element if n == 2 else '':>2s}\n"
        for n, (field, (x, y, z)) in enumerate(zip(names, places, strict=True), start=1)
    )
    return "".join(rows)


# ` Br1` was boron by its columns.
@pytest.mark.parametrize(
    ("name", "element"), [(" Br1", "Br"), ("BR1 ", "Br"), (" Cl2", "Cl"), ("Cl  ", "Cl"), (" I1 ", "I")]
)
def test_the_name_of_an_atom_gives_its_element(name: str, element: str) -> None:
    (molecule,) = structures.read_structures(pdb(name).encode(), "x.pdb")
    assert molecule.symbols[1] == element


@pytest.mark.parametrize("name", [" CL1", " BR ", " BR2", " CL "])
def test_a_name_that_fits_two_elements_is_refused_unless_the_element_is_written(name: str) -> None:
    assert refused(structures.read_structures, pdb(name).encode(), "x.pdb").code == "unreadable_structure"
    (molecule,) = structures.read_structures(pdb(name, name.strip()[:2]).encode(), "x.pdb")
    assert molecule.symbols[1] in ("Cl", "Br")


def test_xtb_does_not_get_two_locations_of_an_atom(tmp_path: Path) -> None:
    path = tmp_path / "x.pdb"
    path.write_text(pdb(" F1 ", "F", "B"))
    assert refused(job_kinds.xtb, str(path)).code == "unreadable_structure"
    one = pdb(" F1 ", "F")
    path.write_text(f"MODEL        1\n{one}ENDMDL\nMODEL        2\n{one}ENDMDL\n")
    assert any("computes the first alone" in note for note in noted(path))


@pytest.mark.parametrize(
    "head", ["Properties=species:S:1:pos:R:3 charge=1", "charge=+1 from a database", "total_charge=1.0"]
)
def test_the_charge_in_a_comment_line_is_that_of_the_molecule(head: str, tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text(f"4\n{head}\n{OXONIUM}")
    made = job_kinds.nmr(MoleculeRequest(source=str(path)))
    assert (made.params["charge"], made.params["multiplicity"]) == (1, 1)
    assert refused(job_kinds.nmr, MoleculeRequest(source=str(path), charge=-1)).code == "charge_mismatch"
    for kind in ("xtb", "crest"):
        assert any("charge of +1" in note for note in noted(path, kind=kind))
        assert not noted(path, "--chrg", "1", kind=kind)


@pytest.mark.parametrize("head", ["water", "charge 1 mult 1", "1 1", "charge=unknown", "discharge=1", "charge=0"])
def test_other_comments_are_free_text(head: str, tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text(f"3\n{head}\n{WATER}")
    assert job_kinds.nmr(MoleculeRequest(source=str(path))).params["charge"] == 0
    assert not noted(path)


def test_structures_of_different_charges_are_no_conformers(tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text(f"3\ncharge=2\n{WATER}3\ncharge=0\n{WATER}")
    assert refused(job_kinds.nmr, MoleculeRequest(source=str(path))).code == "structures_differ"


@pytest.mark.parametrize(("cell", "crystal"), [('pbc="T T T"', True), ('pbc="F F F"', False), ("", True)])
def test_a_crystal_is_no_molecule(cell: str, crystal: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text(f'3\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 {cell}\n{WATER}')
    assert any("lattice" in note for note in noted(path)) == crystal
    if crystal:
        assert refused(job_kinds.nmr, MoleculeRequest(source=str(path))).code == "unreadable_structure"
    else:
        assert job_kinds.nmr(MoleculeRequest(source=str(path))).params["atoms"] == ["O", "H", "H"]


@pytest.mark.parametrize("word", ["X", "Xx", "Bq", "BqO", "Gh", "GhH1", "Q", "Du", "LP", "X1"])
def test_a_ghost_or_dummy_is_named_as_one(word: str) -> None:
    error = refused(structures.read_structures, f"4\n\n{WATER}{word} 0 0 2\n".encode(), "x.xyz")
    assert error.code == "unknown_element"
    assert "ghost or dummy" in str(error)


def test_blanks_of_other_scripts_are_written_plainly_for_the_program(tmp_path: Path) -> None:
    path = tmp_path / "x.xyz"
    path.write_text(f"3\n\n{WATER}".replace(" ", "\u00a0"))
    made = job_kinds.xtb(str(path))
    assert made.files["x.xyz"].isascii()
    assert made.files["original-x.xyz"] == path.read_bytes()


@pytest.mark.parametrize(("smiles", "left_out"), [("CCO", 6), ("C[NH3+]", 6), ("O=C=O", 0), ("C[CH2]", 5)])
@pytest.mark.parametrize("v3000", [False, True])
def test_hydrogens_that_a_file_leaves_out_are_noted(smiles: str, left_out: int, v3000: bool, tmp_path: Path) -> None:
    mol = Chem.MolFromSmiles(smiles)
    whole = Chem.AddHs(mol)
    rdDistGeom.EmbedMolecule(whole, randomSeed=7)
    write = Chem.MolToV3KMolBlock if v3000 else Chem.MolToMolBlock
    for number, (given, expected) in enumerate(((mol, left_out), (whole, 0))):
        path = tmp_path / f"{number}.mol"
        path.write_text(write(given))
        found = [note for note in noted(path) if "leaves out" in note]
        assert bool(found) == bool(expected)
        assert not expected or f"leaves out {expected} hydrogen" in found[0]
