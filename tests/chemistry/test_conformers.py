"""Searching, comparing and choosing conformers, with RDKit for real."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.chemistry import choose_conformers, duplicates, embed, graphs, rotors, search, structures
from qmrunner.chemistry.choose_conformers import Candidate
from qmrunner.chemistry.xyz import read_xyz, write_xyz
from qmrunner.model.units import KCAL_PER_HARTREE
from tests.prefork import preforked

CREST = Path(__file__).parents[1] / "fixtures" / "crest"
SEED = 7


def found_for(smiles: str, candidates: int = 60, most: int = 100) -> search.Found:
    mol = graphs.mol_from_smiles(smiles)
    return search.search(mol, graphs.molecule_from_mol(mol).bonds or (), candidates, most, SEED, lambda f, t: None)


def comparer(smiles: str, mirrors: bool = False) -> duplicates.Comparer:
    molecule = structures.read_smiles(smiles)
    return duplicates.Comparer(molecule.symbols, molecule.bonds or (), mirrors)


def points(smiles: str) -> np.ndarray[Any, Any]:
    return np.asarray(found_for(smiles).conformers[0].coordinates)


def run(task: str, content: Mapping[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "task.json").write_text(json.dumps(content), encoding="utf-8")
    return preforked("chemistry").run(["-m", "qmrunner.chemistry", task, "task.json"], directory, os.environ, 60.0)


@pytest.mark.parametrize(
    ("smiles", "count"),
    [
        ("CCCO", 2),
        ("CCO", 1),
        ("CC", 0),
        ("CCCC", 1),
        ("c1ccccc1", 0),
        ("Cc1ccccc1", 0),
        ("CC(C)(C)C", 0),
        ("CC#CC", 0),
        ("C=C", 0),
        ("C1CCCCC1", 1),
        ("C1CC1", 0),
        ("CCN", 1),
        ("CC(F)(F)F", 0),
    ],
)
def test_rotatable_bonds_are_those_that_make_other_conformers(smiles: str, count: int) -> None:
    molecule = structures.read_smiles(smiles)
    assert rotors.rotors(molecule.symbols, molecule.bonds or ()) == count


def test_propanol_has_five_conformers_up_to_mirror_images() -> None:
    # Backbone and hydroxyl each anti or gauche: nine, of which four pairs are mirror images.
    assert len(found_for("CCCO").conformers) == 5


def test_a_stiff_molecule_has_one_conformer_and_methyls_make_none() -> None:
    assert len(found_for("Cc1ccccc1").conformers) == 1
    assert len(found_for("CC(C)(C)C").conformers) == 1


def test_the_same_seed_finds_the_same_and_the_number_is_limited() -> None:
    assert found_for("CCCCO") == found_for("CCCCO")
    few = found_for("CCCCO", most=3)
    assert len(few.conformers) == 3
    assert any("more than the 3 lowest" in why for why, _ in few.dropped)
    energies = [one.energy_kcal_mol for one in few.conformers]
    assert energies == sorted(energies, key=lambda e: e or 0.0)


def test_an_open_stereocentre_is_settled_once_and_reported() -> None:
    found = found_for("CC(O)C(F)Cl")
    (note,) = found.notes
    assert "2 stereo element(s) open" in note
    for one in found.conformers:
        symbols = structures.read_smiles("CC(O)C(F)Cl").symbols
        assert str(graphs.perceive_smiles(symbols, one.coordinates, 0)) in note
    assert found_for("C[C@H](O)F").notes == ()


def test_turning_moving_and_renumbering_equal_atoms_changes_no_structure() -> None:
    tert = points("CC(C)(C)O")
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = tert @ turn.T + 5.0
    swapped = moved.copy()
    # Two methyl groups change places, hydrogens and all.
    swapped[[0, 2]] = swapped[[2, 0]]
    found = comparer("CC(C)(C)O")
    assert found.distance(tert, moved) < 1e-5
    assert found.distance(tert, swapped) < 1e-5


def test_a_turned_hydroxyl_is_another_conformer_and_a_turned_methyl_is_not() -> None:
    ethanol = points("CCO")
    methyl, hydroxyl = ethanol.copy(), ethanol.copy()
    methyl[[3, 4, 5]] += 0.5
    hydroxyl[8] += 1.0
    found = comparer("CCO")
    assert found.distance(ethanol, methyl) < 1e-5
    assert found.distance(ethanol, hydroxyl) > choose_conformers.SAME_ANGSTROM


def test_mirror_images_are_the_same_only_where_asked() -> None:
    gauche = next(
        np.asarray(one.coordinates)
        for one in found_for("CCCC").conformers
        if not comparer("CCCC").is_own_mirror(one.coordinates, 0.2)
    )
    mirrored = gauche * [1, 1, -1]
    assert comparer("CCCC", mirrors=True).distance(gauche, mirrored) < 1e-5
    assert comparer("CCCC").distance(gauche, mirrored) > 0.2


@pytest.mark.parametrize(
    ("smiles", "has"), [("CCCO", False), ("CC(O)F", True), ("CC(C)O", False), ("C1CCCCC1", False), ("CC(O)CC", True)]
)
def test_stereocentres_are_seen_in_the_bare_graph(smiles: str, has: bool) -> None:
    molecule = structures.read_smiles(smiles)
    assert duplicates.has_stereocentres(molecule.symbols, molecule.bonds or ()) is has


def butane() -> tuple[list[Candidate], list[str], list[tuple[int, int]]]:
    molecule = structures.read_smiles("CCCC")
    anti, gauche = (one.coordinates for one in found_for("CCCC").conformers)
    other = tuple((x, y, -z) for x, y, z in gauche)
    rows = [("c1", 0.0, anti), ("c2", 0.6, gauche), ("c3", 0.6001, other), ("c4", 9.0, gauche)]
    found = [Candidate(name, -10 + kcal / KCAL_PER_HARTREE, shape) for name, kcal, shape in rows]
    return found, list(molecule.symbols), list(molecule.bonds or ())


def chosen(candidates: list[Candidate], most: int | None = None) -> dict[str, dict[str, Any]]:
    _, symbols, bonds = butane()
    rows = choose_conformers.choose(candidates, symbols, bonds, window_kcal=6.0, most=most, temperature_k=298.15)
    return {row["id"]: row for row in rows}


def test_the_choice_gives_every_dropped_conformer_its_reason() -> None:
    rows = chosen(butane()[0])
    assert [one for one, row in rows.items() if row["state"] == "kept"] == ["c1", "c2"]
    assert rows["c1"]["reason"] is None
    assert rows["c3"]["reason"].startswith("the same as c2 (RMSD 0.0")
    assert rows["c4"]["reason"] == "9.00 kcal/mol above the lowest, outside the window of 6"
    assert chosen(butane()[0], most=1)["c2"]["reason"] == "more than the 1 lowest (--max-conformers)"


def test_a_gauche_conformer_counts_for_its_mirror_image_too() -> None:
    rows = chosen(butane()[0])
    assert (rows["c1"]["degeneracy"], rows["c2"]["degeneracy"]) == (1, 2)
    # 0.6 kcal/mol at 298.15 K is a factor of 2.753.
    assert rows["c2"]["weight"] / rows["c1"]["weight"] == pytest.approx(2 / 2.753, abs=1e-3)
    assert rows["c1"]["weight"] + rows["c2"]["weight"] == pytest.approx(1)
    assert rows["c3"]["weight"] is None


def test_a_conformer_that_became_another_molecule_is_dropped_and_sets_no_window() -> None:
    candidates, symbols, bonds = butane()
    torn = tuple((x + 3.0, y, z) if at == 5 else (x, y, z) for at, (x, y, z) in enumerate(candidates[0].coordinates))
    rows = choose_conformers.choose(
        three := [*candidates[:2], Candidate("c9", -11.0, torn)],
        symbols,
        bonds,
        window_kcal=6.0,
        most=None,
        temperature_k=298.15,
        refused=choose_conformers.reacted(three, symbols, bonds),
    )
    found = {row["id"]: row for row in rows}
    assert found["c9"]["state"] == "dropped"
    assert "the bond C1-H6 broke" in found["c9"]["reason"]
    assert (found["c1"]["state"], found["c2"]["state"]) == ("kept", "kept")
    assert found["c1"]["relative_kcal_mol"] == 0.0


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_choice_does_not_depend_on_the_order(seed: int) -> None:
    candidates = butane()[0]
    random.Random(seed).shuffle(candidates)
    assert chosen(candidates) == chosen(butane()[0])


def test_a_search_runs_as_a_task_and_states_what_it_dropped(tmp_path: Path) -> None:
    molecule = structures.read_smiles("CCCO")
    task = {"smiles": "CCCO", "atoms": list(molecule.symbols), "bonds": molecule.bonds, "candidates": 40, "keep": 20}
    assert run("search", task, tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert [one["id"] for one in result["conformers"]] == ["c1", "c2", "c3", "c4", "c5"]
    assert sum(row["count"] for row in result["dropped"]) == 35
    assert set(result["files"]) == {"geometry.xyz", *(f"c{n}.xyz" for n in range(1, 6))}


def test_a_search_can_start_from_coordinates(tmp_path: Path) -> None:
    molecule = structures.read_smiles("OCCC")
    shape = found_for("OCCC").conformers[0].coordinates
    (tmp_path / "structure.xyz").write_text(write_xyz(molecule.symbols, shape))
    task = {"structure": "structure.xyz", "atoms": list(molecule.symbols), "bonds": molecule.bonds, "charge": 0}
    done = run("search", task | {"candidates": 40, "keep": 20}, tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(json.loads((tmp_path / "result.json").read_text())["conformers"]) == 5


def test_a_molecule_without_a_structure_in_space_fails_with_a_remedy(tmp_path: Path) -> None:
    smiles = "C1C[C@@H]2C[C@@H]1CC2"
    molecule = structures.read_smiles(smiles)
    task = {"smiles": smiles, "atoms": list(molecule.symbols), "bonds": molecule.bonds, "candidates": 2, "keep": 2}
    done = run("search", task, tmp_path)
    assert done.returncode == 1
    assert "error embed_failed: " in done.stdout
    assert "  fix:  " in done.stdout


def test_a_recorded_crest_ensemble_is_chosen_from(tmp_path: Path) -> None:
    text = (CREST / "ethanol" / "crest_conformers.xyz").read_text()
    (tmp_path / "ensemble.in.xyz").write_text(text)
    frame = read_xyz(text)[0]
    bonds = graphs.perceive_bonds(frame.symbols, frame.coordinates or ())
    task = {"ensemble": "ensemble.in.xyz", "symbols": frame.symbols, "bonds": bonds, "window_kcal": 6.0, "most": 6}
    done = run("select", task | {"temperature_k": 298.15}, tmp_path)
    assert done.returncode == 0, done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    # Gauche with its mirror image, anti, and a twisted one with its mirror image.
    assert [(row["state"], row["degeneracy"]) for row in result["conformers"]] == [
        ("kept", 2),
        ("kept", 1),
        ("kept", 2),
    ]
    whole = read_xyz((tmp_path / "ensemble.xyz").read_text())
    assert len(whole) == 3
    assert "weight" in whole[0].title
    assert (tmp_path / f"{result['kept'][0]}.xyz").is_file()


def test_an_empty_set_of_conformers_is_refused_with_its_fix(tmp_path: Path) -> None:
    task = {"conformers": [], "symbols": ["He"], "bonds": [], "window_kcal": 6.0, "temperature_k": 298.15}
    done = run("select", task, tmp_path)
    assert done.returncode == 1
    assert "error no_conformers: " in done.stdout
    assert "--conformers none" in done.stdout


@pytest.mark.parametrize("comment", ["", "energy", "nan"])
def test_an_ensemble_without_energies_is_refused(tmp_path: Path, comment: str) -> None:
    (tmp_path / "e.xyz").write_text(f"1\n{comment}\nHe 0 0 0\n")
    task = {"ensemble": "e.xyz", "symbols": ["He"], "bonds": [], "window_kcal": 6.0, "temperature_k": 298.15}
    done = run("select", task, tmp_path)
    assert done.returncode == 1
    assert "error incomplete_input: " in done.stdout


# RDKit's rules want straight triple bonds and flat double bonds: without them these rings have structures, too.
@pytest.mark.parametrize(
    "smiles", ["C1#CCCCCCC1", "C1#CCCCCC1", "C1C=CC#CC=C1", "C1=C[C@@H]2N=CC=C2C=C1", "OC1CCCCC#CC1", "C1CCCCCCC1"]
)
def test_a_strained_ring_has_a_structure_with_its_bonds(smiles: str) -> None:
    mol = graphs.mol_from_smiles(smiles)
    _, found = embed.embed(mol, 2, SEED)
    molecule = graphs.molecule_from_mol(mol)
    for one in found:
        assert graphs.perceive_bonds(molecule.symbols, one.coordinates) == molecule.bonds
