"""Which atoms share a signal, on structures of RDKit's force field with shieldings that distinguish every atom."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmrunner.chemistry import graphs, report, stiff
from qmrunner.chemistry.drawing import nmredata
from qmrunner.chemistry.exchange import Frame
from qmrunner.chemistry.molecule import Molecule
from qmrunner.chemistry.task_molecule import drawable
from qmrunner.chemistry.xyz import write_xyz

# SMILES → groups of more than one atom among hydrogens and carbons.
GROUPS = {
    "CCO": "4,5,6 7,8",
    "CCCO": "5,6,7 8,9 10,11",
    "Cc1ccccc1": "3,7 4,6 8,9,10 11,15 12,14",
    "CC(C)(C)O": "1,3,4 6,7,8,9,10,11,12,13,14",
    "CC(C)O": "1,3 5,6,7,9,10,11",
    "C1CCCCC1": "1,2,3,4,5,6 7,8,9,10,11,12,13,14,15,16,17,18",
    "C[N+](C)(C)CCO": "1,3,4 8,9,10,11,12,13,14,15,16 17,18 19,20",
    "C=C(C)C": "3,4 5,6 7,8,9,10,11,12",
    "CS(=O)C": "1,4 5,6,7,8,9,10",
    "[2H]CC": "4,5 6,7,8",
    # Resonance: a formula that draws one of two like bonds double distinguishes nothing.
    "CC(=O)C=C(C)[O-]": "1,6 2,5 8,9,10,12,13,14",
    "[CH2-]C=C": "1,3 4,5,7,8",
    "CN(C)C=CC=[N+](C)C": "1,3,8,9 4,6 10,11,12,13,14,15,19,20,21,22,23,24 16,18",
    # One signal would be wrong:
    "CN(C)C=O": "6,7,8 9,10,11",
    "CN(C)C=S": "6,7,8 9,10,11",
    "C=CCl": "",
    "NC=O": "",
    "CC(C)=CC": "6,7,8 9,10,11 13,14,15",
    "C[C@H](O)CO": "6,7,8",
    "CC(C)[C@H](O)C": "7,8,9 11,12,13 16,17,18",
    # A ring holds its bonds and turns as a whole; carbamates and ureas turn fast enough.
    "O=C1CCCN1C": "8,9 10,11 12,13 14,15,16",
    "CN(C)C(=O)OC": "1,3 8,9,10,11,12,13 14,15,16",
    "CN(C)C(=O)N(C)C": "1,3,7,8 9,10,11,12,13,14,15,16,17,18,19,20",
}

# Which of a pair has the lower number is a matter of the embedding: sizes of the groups of hydrogens.
SIZES = {
    "CC1CCCCC1": [1, 1, 1, 2, 2, 2, 2, 3],
    "OC[C@H](O)[C@@H](O)CO": [2, 2, 2, 2, 2],
    "CCS(=O)CC": [2, 2, 6],
    "C[C@@H]1CC[C@H](C)CC1": [2, 4, 4, 6],
    "ClCC1CC1": [1, 2, 2, 2],
}


def built(smiles: str, seed: int = 7) -> tuple[Any, Molecule]:
    from rdkit.Chem import AllChem

    mol = graphs.mol_from_smiles(smiles)
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    return mol, graphs.molecule_from_mol(mol)


def found(mol: Any, molecule: Molecule) -> set[tuple[int, ...]]:
    frame = Frame(molecule.symbols, molecule.bonds or (), dict(molecule.isotopes))
    return set(frame.groups(frame.shape(np.asarray(molecule.coordinates), stiff.slow(mol))))


@pytest.mark.parametrize("smiles", GROUPS)
def test_atoms_share_a_signal_when_a_symmetry_of_the_molecule_exchanges_them(smiles: str) -> None:
    mol, molecule = built(smiles)
    several = {g for g in found(mol, molecule) if len(g) > 1 and molecule.symbols[g[0] - 1] in "HC"}
    expected = {tuple(map(int, text.split(","))) for text in GROUPS[smiles].split()}
    assert several == expected


@pytest.mark.parametrize(("smiles", "sizes"), SIZES.items())
def test_rings_and_meso_forms_keep_both_hydrogens_of_a_ch2_apart(smiles: str, sizes: list[int]) -> None:
    mol, molecule = built(smiles)
    assert sorted(len(group) for group in found(mol, molecule) if molecule.symbols[group[0] - 1] == "H") == sizes


@pytest.mark.parametrize("smiles", ["CC1CCCCC1", "CN(C)C=O", "C[C@H](O)CO", "CC(C)(C)O"])
def test_groups_depend_neither_on_the_order_of_atoms_nor_on_the_conformer_nor_on_the_mirror(smiles: str) -> None:
    from rdkit import Chem

    shuffled = random.Random(1)
    mol, molecule = built(smiles)
    sizes = sorted(map(len, found(mol, molecule)))
    for seed in (1, 2, 3):
        order = list(range(len(molecule.symbols)))
        shuffled.shuffle(order)
        other = Chem.RenumberAtoms(built(smiles, seed)[0], order)
        assert sorted(map(len, found(other, graphs.molecule_from_mol(other)))) == sizes
        turned = graphs.at_points(other, [(-x, y, z) for x, y, z in other.GetConformer().GetPositions()])
        assert sorted(map(len, found(turned, graphs.molecule_from_mol(turned)))) == sizes


def task(folder: Path, smiles: str, conformers: dict[str, tuple[Molecule, dict[int, float]]]) -> dict[str, Any]:
    """A task as the engine writes it, with these shieldings in ppm by atom."""
    entries = []
    for at, (name, (molecule, shieldings)) in enumerate(conformers.items()):
        entries.append({"id": name})
        rows = [{"atom": n, "element": molecule.symbols[n - 1], "isotropic_ppm": v} for n, v in shieldings.items()]
        texts = {
            "shielding": json.dumps({"shieldings": rows}),
            "optimise": json.dumps({"energy_hartree": -1.0 + 1e-5 * at}),
            "geometry": write_xyz(molecule.symbols, molecule.coordinates or ()),
        }
        for key, text in texts.items():
            entries[-1][key] = str(folder / f"{key}-{name}.{'xyz' if key == 'geometry' else 'json'}")
            Path(entries[-1][key]).write_text(text)
    return {
        "symbols": list(molecule.symbols), "bonds": [list(pair) for pair in molecule.bonds or ()], "charge": 0,
        "isotopes": [list(pair) for pair in molecule.isotopes], "solvent": "chloroform", "level": "draft",
        "temperature_k": 298.15, "conformers": entries, "source": {"smiles": smiles}, "smiles": molecule.smiles,
    }  # fmt: skip


def test_dmf_has_two_methyls_and_vinyl_chloride_two_protons_of_its_ch2(tmp_path: Path) -> None:
    _, dmf = built("CN(C)C=O")
    shieldings = {1: 152.0, 3: 157.0, 4: 30.0, 6: 29.0, 7: 29.2, 8: 29.4, 9: 28.9, 10: 29.0, 11: 29.1, 12: 24.0}
    answer = report.evaluate(task(tmp_path, "CN(C)C=O", {"c1": (dmf, shieldings)}))
    rows = {row["atom"]: row for row in answer["shifts"]}
    assert rows[1]["shift_ppm"] != rows[3]["shift_ppm"]
    assert rows[6]["equivalent_atoms"] == [6, 7, 8]
    assert rows[6]["shielding_ppm"] == pytest.approx(29.2)
    assert rows[9]["shielding_ppm"] == pytest.approx(29.0)
    assert "C1 and C3" in " ".join(answer["notes"])
    _, vinyl = built("C=CCl")
    shieldings = {1: 80.0, 2: 70.0, 4: 26.5, 5: 26.3, 6: 25.6}
    answer = report.evaluate(task(tmp_path, "C=CCl", {"c1": (vinyl, shieldings)}))
    assert len({row["shift_ppm"] for row in answer["shifts"] if row["symbol"] == "H"}) == 3
    assert "H4 and H5" in " ".join(answer["notes"])


def test_a_molecule_whose_atoms_are_all_averaged_has_no_note(tmp_path: Path) -> None:
    _, ethanol = built("CCO")
    answer = report.evaluate(task(tmp_path, "CCO", {"c1": (ethanol, dict.fromkeys((1, 2, *range(4, 10)), 30.0))}))
    assert answer["notes"] == []


@pytest.mark.parametrize(
    ("smiles", "named"),
    [
        ("c1c[nH]cn1", "C1 and C2; H6 and H7"), ("c1cn[nH]c1", "C2 and C5; H7 and H9"),
        ("CC(O)=CC(C)=O", "C1 and C6; C2 and C5; H8,H9,H10 and H13,H14,H15"),
        ("Cc1c[nH]cn1", ""), ("OCC=O", ""), ("CC(=O)O", ""), ("O=c1cccc[nH]1", ""), ("NCC(=O)O", ""), ("OCCO", ""),
        ("C[C@H](O)CO", ""), ("C1CNCCN1", ""),
    ],
)  # fmt: skip
def test_atoms_that_a_moving_proton_exchanges_are_named(smiles: str, named: str, tmp_path: Path) -> None:
    _, molecule = built(smiles)
    values = {at: 100.0 + at if symbol == "C" else 25.0 + at / 9 for at, symbol in enumerate(molecule.symbols, 1)}
    answer = report.evaluate(task(tmp_path, smiles, {"c1": (molecule, values)}))
    notes = [note for note in answer["notes"] if "proton that moves" in note]
    assert ([note.split("places: ")[1].split(". In")[0] for note in notes] or [""]) == [named]


def test_a_carbamate_is_averaged_with_a_note_that_names_the_atoms(tmp_path: Path) -> None:
    _, molecule = built("CN(C)C(=O)OC")
    shieldings = {n: 30.0 for n, symbol in enumerate(molecule.symbols, start=1) if symbol in "HC"}
    answer = report.evaluate(task(tmp_path, "CN(C)C(=O)OC", {"c1": (molecule, shieldings)}))
    (note,) = answer["notes"]
    assert note.startswith("averaged")
    assert "C1 and C3" in note


@pytest.mark.parametrize("smiles", ["CN(C)/C=C/C=O", "CN(C)/C=C/C#N", "CN(C)C=NC"])
def test_a_c_n_bond_between_fast_and_slow_is_averaged_with_a_note(smiles: str, tmp_path: Path) -> None:
    _, molecule = built(smiles)
    shieldings = {n: 30.0 for n, symbol in enumerate(molecule.symbols, start=1) if symbol in "HC"}
    answer = report.evaluate(task(tmp_path, smiles, {"c1": (molecule, shieldings)}))
    assert [note for note in answer["notes"] if note.startswith("averaged over") and "C1 and C3" in note]


def test_hydrogens_of_a_ch2_that_a_search_named_the_other_way_round_are_not_mixed(tmp_path: Path) -> None:
    """In another conformer the hand of a CH2 may be the other one: where an atom stands decides, not its number."""
    smiles = "C[C@H](O)CO"
    _, first = built(smiles)
    swapped = {**{n: n for n in range(1, 14)}, 11: 12, 12: 11}
    points = first.coordinates or ()
    second = Molecule(first.symbols, coordinates=tuple(points[swapped[n] - 1] for n in range(1, 14)), bonds=first.bonds)
    shieldings = {n: 20.0 + n for n in range(1, 14) if first.symbols[n - 1] in "HC"}
    mixed = {n: shieldings[swapped[n]] for n in shieldings}
    alone = report.evaluate(task(tmp_path, smiles, {"c1": (first, shieldings)}))
    both = report.evaluate(task(tmp_path, smiles, {"c1": (first, shieldings), "c2": (second, mixed)}))
    assert [row["shielding_ppm"] for row in both["shifts"]] == [row["shielding_ppm"] for row in alone["shifts"]]


@pytest.mark.parametrize(
    ("smiles", "protons", "word"),
    [("[2H]C([2H])([2H])O", 1, "deuterium"), ("[2H]CC", 5, "deuterium"), ("[3H]CC", 5, "tritium"),
     ("CC([2H])O", 5, "deuterium")],
)  # fmt: skip
def test_another_isotope_gives_no_signal_anywhere(tmp_path: Path, smiles: str, protons: int, word: str) -> None:
    _, molecule = built(smiles)
    shieldings = {n: 30.0 for n, symbol in enumerate(molecule.symbols, start=1) if symbol in "HC"}
    one = task(tmp_path, smiles, {"c1": (molecule, shieldings)})
    answer = report.evaluate(one)
    silent = {number for number, _ in molecule.isotopes}
    rows = [row for row in answer["shifts"] if row["symbol"] == "H"]
    assert len(rows) == protons
    assert not silent & {row["atom"] for row in rows}
    assert not silent & {atom for row in answer["shifts"] for atom in row["equivalent_atoms"]}
    assert any(word in note for note in answer["notes"])
    assert not silent & set(report.exchangeable(one))
    assert len(report.as_csv(answer["shifts"]).splitlines()) == 1 + len(answer["shifts"])
    mol, _ = drawable({**one, "atoms": one["symbols"]}, molecule.coordinates or ())
    record = nmredata(mol, answer, one, molecule.smiles)
    assert "M  ISO" in record
    signals = record.split("NMREDATA_ASSIGNMENT>")[1].split(">  <")[0]
    assert not any(f"H{number}," in signals for number in silent)


def test_a_labelled_carbon_gives_a_signal_and_carbon_twelve_none(tmp_path: Path) -> None:
    _, molecule = built("[13CH3][12CH2]O")
    shieldings = {n: 30.0 for n, symbol in enumerate(molecule.symbols, start=1) if symbol in "HC"}
    answer = report.evaluate(task(tmp_path, "[13CH3][12CH2]O", {"c1": (molecule, shieldings)}))
    assert [row["atom"] for row in answer["shifts"] if row["symbol"] == "C"] == [1]
