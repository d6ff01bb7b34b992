"""`python -m qmrunner.chemistry`, run for real."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry import sensitivity, structures
from qmrunner.chemistry.accuracy import accuracy_of
from qmrunner.chemistry.spectrum_signals import atom_label, signals
from qmrunner.chemistry.xyz import read_xyz, write_xyz
from tests.prefork import preforked

ETHANOL = structures.read_smiles("CCO")
SYMBOLS = list(ETHANOL.symbols)
SHIELDINGS = [160.0, 130.0, 280.0, 30.9, 30.8, 30.7, 28.4, 28.5, 31.5]


def run(task: str, content: Mapping[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "task.json").write_text(json.dumps(content), encoding="utf-8")
    done = preforked("chemistry").run(["-m", "qmrunner.chemistry", task, "task.json"], directory, os.environ, 60.0)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def embed_task(smiles: str, **more: Any) -> dict[str, Any]:
    return {"smiles": smiles, "atoms": list(structures.read_smiles(smiles).symbols), **more}


def conformer(directory: Path, name: str, energy: float, values: Sequence[float | None]) -> dict[str, str]:
    rows = [
        {"atom": number, "element": symbol, "isotropic_ppm": value}
        for number, (symbol, value) in enumerate(zip(SYMBOLS, values, strict=True), start=1)
        if value is not None
    ]
    (directory / f"s-{name}.json").write_text(json.dumps({"energy_hartree": -1.0, "shieldings": rows}))
    (directory / f"o-{name}.json").write_text(json.dumps({"energy_hartree": energy}))
    (directory / f"g-{name}.xyz").write_text(write_xyz(SYMBOLS, placed("CCO", up=energy % 1)))
    return {"id": name, "shielding": f"s-{name}.json", "optimise": f"o-{name}.json", "geometry": f"g-{name}.xyz"}


def placed(smiles: str, up: float = 0.0) -> list[tuple[float, float, float]]:
    """A structure of the molecule, in angstrom: what is no such structure counts as another molecule."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    return [(x, y + up, z) for x, y, z in mol.GetConformer().GetPositions()]


def shifts_task(conformers: Sequence[Mapping[str, Any]], level: str = "production") -> dict[str, Any]:
    assert ETHANOL.bonds is not None
    return {
        "symbols": SYMBOLS,
        "source": {"smiles": "CCO"},
        "bonds": [list(pair) for pair in ETHANOL.bonds],
        "solvent": "chloroform",
        "level": level,
        "temperature_k": 298.15,
        "conformers": list(conformers),
    }


def test_embedding_writes_a_structure_and_ends_with_the_marker(tmp_path: Path) -> None:
    done = run("embed", embed_task("CCO"), tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "qmrunner chemistry: done"
    assert done.stdout.startswith("progress 0.10")
    (found,) = read_xyz((tmp_path / "geometry.xyz").read_text())
    assert list(found.symbols) == SYMBOLS
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["force_field"] == "MMFF94"
    assert result["seed"] > 0
    assert (tmp_path / "c1.xyz").read_bytes() == (tmp_path / "geometry.xyz").read_bytes()


def test_the_same_seed_gives_the_same_structure(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run("embed", embed_task("CC(C)CO", seed=11), tmp_path / name)
        texts.append((tmp_path / name / "geometry.xyz").read_bytes())
    assert texts[0] == texts[1]


def test_several_conformers_are_kept_lowest_energy_first(tmp_path: Path) -> None:
    assert run("embed", embed_task("CCCCO", candidates=8, keep=3), tmp_path).returncode == 0
    found = json.loads((tmp_path / "result.json").read_text())["conformers"]
    energies = [one["energy_kcal_mol"] for one in found]
    assert [one["id"] for one in found] == ["c1", "c2", "c3"]
    assert energies == pytest.approx(sorted(energies))
    assert (tmp_path / "c3.xyz").is_file()


def test_elements_without_mmff_parameters_are_refined_with_uff(tmp_path: Path) -> None:
    assert run("embed", embed_task("CB(C)C"), tmp_path).returncode == 0
    assert json.loads((tmp_path / "result.json").read_text())["force_field"] == "UFF"


def test_a_flat_mol_file_is_embedded(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    mol = Chem.MolFromSmiles("OCC")
    rdDepictor.Compute2DCoords(mol)
    (tmp_path / "structure.mol").write_text(Chem.MolToMolBlock(mol))
    task = {"structure": "structure.mol", "atoms": ["O", "C", "C", *"HHHHHH"]}
    assert run("embed", task, tmp_path).returncode == 0
    assert read_xyz((tmp_path / "geometry.xyz").read_text())[0].symbols[:3] == ("O", "C", "C")


def test_a_structure_that_cannot_be_fails_with_a_code_and_a_remedy(tmp_path: Path) -> None:
    # Norbornane with one bridgehead hydrogen inside the cage.
    done = run("embed", embed_task("C1C[C@@H]2C[C@@H]1CC2", candidates=2), tmp_path)
    assert done.returncode == 1
    assert "error embed_failed: " in done.stdout
    assert "  fix:  " in done.stdout
    assert not (tmp_path / "result.json").exists()


def test_atoms_that_changed_since_submission_are_refused(tmp_path: Path) -> None:
    done = run("embed", {"smiles": "CCO", "atoms": ["C"]}, tmp_path)
    assert done.returncode == 1
    assert "error atoms_changed: " in done.stdout


def test_shifts_follow_the_line_and_equivalent_atoms_are_equal(tmp_path: Path) -> None:
    done = run("shifts", shifts_task([conformer(tmp_path, "c1", -154.9, SHIELDINGS)]), tmp_path)
    assert done.returncode == 0, done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {row["atom"]: row for row in result["shifts"]}
    assert sorted(rows) == [1, 2, 4, 5, 6, 7, 8, 9]
    assert rows[1]["shift_ppm"] == pytest.approx(172.68931 - 0.949719 * 160.0, abs=1e-4)
    assert rows[4]["shift_ppm"] == rows[5]["shift_ppm"] == rows[6]["shift_ppm"]
    assert rows[4]["shielding_ppm"] == pytest.approx(30.8)
    assert rows[4]["own_shielding_ppm"] == 30.9
    assert rows[4]["equivalent_atoms"] == [4, 5, 6]
    known = accuracy_of("13C", "chloroform", "production")
    assert (rows[1]["kind"], rows[2]["kind"]) == ("alkyl", "sp3 on N or O")
    assert rows[1]["uncertainty_ppm"] == known.uncertainty_ppm("alkyl") != rows[2]["uncertainty_ppm"]
    assert rows[4]["kind"] == "alkyl"
    assert result["energy_hartree"] == -154.9
    assert result["conformers"][0]["weight"] == 1.0
    assert result["provenance"]["scaling"]["1H"]["points"] == 335


def test_shifts_are_averaged_over_conformers_and_the_lowest_gives_the_geometry(tmp_path: Path) -> None:
    high = [None if value is None else value + 10 for value in SHIELDINGS]
    both = [conformer(tmp_path, "c1", -154.9, high), conformer(tmp_path, "c2", -154.9 - 0.001, SHIELDINGS)]
    assert run("shifts", shifts_task(both), tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    weight = result["conformers"][0]["weight"]
    assert 0.2 < weight < 0.3
    assert result["shifts"][0]["shielding_ppm"] == pytest.approx(160.0 + 10 * weight, abs=1e-3)
    assert result["lowest"] == "c2"
    table = json.loads((tmp_path / "ensemble.json").read_text())
    assert table["atoms"] == [row["atom"] for row in result["shifts"]]
    again = sensitivity.evaluate(table, table["temperature_k"], 0.0)
    assert [row["shift_ppm"] for row in again] == pytest.approx(
        [row["shift_ppm"] for row in result["shifts"]], abs=2e-4
    )
    assert (tmp_path / "geometry.xyz").read_text().splitlines()[2:] == (tmp_path / "g-c2.xyz").read_text().splitlines()[
        2:
    ]


def test_a_conformer_that_stands_for_its_mirror_image_weighs_twice(tmp_path: Path) -> None:
    high = [value + 9 for value in SHIELDINGS]
    both: list[dict[str, Any]] = [
        conformer(tmp_path, "c1", -154.9, high) | {"degeneracy": 2},
        conformer(tmp_path, "c2", -154.9, SHIELDINGS) | {"degeneracy": 1},
    ]
    assert run("shifts", shifts_task(both), tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["weight"] for row in result["conformers"]] == pytest.approx([2 / 3, 1 / 3])
    assert result["shifts"][0]["shielding_ppm"] == pytest.approx(166.0)
    (first, second) = read_xyz((tmp_path / "ensemble.xyz").read_text())
    assert "c1 weight 0.666667 degeneracy 2" in first.title
    assert "c2" in second.title


def test_the_table_and_the_plots_name_every_atom(tmp_path: Path) -> None:
    run("shifts", shifts_task([conformer(tmp_path, "c1", -154.9, SHIELDINGS)], "draft"), tmp_path)
    with (tmp_path / "shifts.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["atom"] for row in table] == ["1", "2", "4", "5", "6", "7", "8", "9"]
    assert float(table[0]["uncertainty_ppm"]) == accuracy_of("13C", "chloroform", "draft").uncertainty_ppm("alkyl")
    assert [row["kind"] for row in table[:3]] == ["alkyl", "sp3 on N or O", "alkyl"]
    assert table[2]["equivalent_atoms"] == "4 5 6"
    assert [row["atom"] for row in table if not row["uncertainty_ppm"]] == ["9"]
    proton = (tmp_path / "spectrum_1H.svg").read_text()
    assert "H4–H6" in proton
    assert "H7,H8" in proton
    assert "C1" in (tmp_path / "spectrum_13C.svg").read_text()
    assert "</svg>" in (tmp_path / "structure.svg").read_text()
    assert "NMREDATA_ASSIGNMENT" in (tmp_path / "nmredata.sdf").read_text()
    assert json.loads((tmp_path / "shifts.json").read_text())["shifts"]


def test_the_same_shifts_draw_the_same_bytes(tmp_path: Path) -> None:
    pictures = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run("shifts", shifts_task([conformer(tmp_path / name, "c1", -154.9, SHIELDINGS)]), tmp_path / name)
        pictures.append((tmp_path / name / "spectrum_1H.svg").read_bytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("broken", ["missing-atom", "nan", "no-energy", "no-file", "other-atoms"])
def test_incomplete_input_fails_with_a_code_and_no_result(tmp_path: Path, broken: str) -> None:
    values: list[float | None] = list(SHIELDINGS)
    if broken == "missing-atom":
        values[4] = None
    if broken == "nan":
        values[4] = float("nan")
    task = shifts_task([conformer(tmp_path, "c1", -154.9, values)])
    if broken == "no-energy":
        (tmp_path / "o-c1.json").write_text("{}")
    if broken == "no-file":
        (tmp_path / "s-c1.json").unlink()
    if broken == "other-atoms":
        (tmp_path / "g-c1.xyz").write_text("1\n\nHe 0 0 0\n")
    done = run("shifts", task, tmp_path)
    assert done.returncode == 1
    assert "error incomplete_input: " in done.stdout
    assert not (tmp_path / "result.json").exists()


def test_an_unforeseen_failure_is_one_line_and_its_traceback_a_file(tmp_path: Path) -> None:
    done = run("shifts", {"nonsense": True}, tmp_path)
    assert done.returncode == 1
    assert "error chemistry_failed: " in done.stdout
    assert "KeyError" in (tmp_path / "traceback.txt").read_text()


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    done = run("brew", {}, tmp_path)
    assert done.returncode == 1
    assert "error chemistry_usage: " in done.stdout


def test_labels_are_short_whatever_the_size_of_the_group() -> None:
    assert atom_label((9,), "H") == "H9"
    assert atom_label((4, 7), "H") == "H4,H7"
    assert atom_label((4, 5, 6), "H") == "H4–H6"
    assert atom_label((4, 5, 6, 9, 10, 11), "H") == "H4,H5… (6)"


def test_signals_run_from_high_shift_to_low() -> None:
    rows = [{"shift_ppm": shift, "equivalent_atoms": [number]} for number, shift in ((1, 1.0), (2, 3.0), (3, 2.0))]
    assert [atoms for _, atoms in signals(rows)] == [(2,), (3,), (1,)]


def test_what_no_molecule_of_the_fit_has_is_named_and_heavy_halogens_have_no_uncertainty(tmp_path: Path) -> None:
    alkyne = {**shifts_task([]), **_molecule(tmp_path, "C#CCBr")}
    assert run("shifts", alkyne, tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {row["atom"]: row for row in result["shifts"]}
    never = accuracy_of("13C", "chloroform", "production").uncertainty_ppm(None)
    assert (rows[1]["kind"], rows[1]["uncertainty_ppm"]) == ("alkyne", never)
    assert (rows[3]["kind"], rows[3]["uncertainty_ppm"]) == ("on heavy halogens", None)
    assert rows[6]["uncertainty_ppm"] == accuracy_of("1H", "chloroform", "production").uncertainty_ppm(None)
    notes = "\n".join(result["notes"])
    assert "C1, C2, H5: no molecule of the fit has such an atom (alkyne)" in notes
    assert "C3: no ±" in notes


def test_without_bond_orders_every_atom_counts_as_never_seen(tmp_path: Path) -> None:
    task = shifts_task([conformer(tmp_path, "c1", -154.9, SHIELDINGS)])
    del task["source"]
    in_a_row = [(float(number), 0.0, 0.0) for number in range(len(SYMBOLS))]  # no geometry that shows bond orders
    (tmp_path / "g-c1.xyz").write_text(write_xyz(SYMBOLS, in_a_row))
    assert run("shifts", task, tmp_path).returncode == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert {row["kind"] for row in result["shifts"]} == {None}
    known = {row["nucleus"]: row["uncertainty_ppm"] for row in result["shifts"] if row["atom"] != 9}
    for nucleus, value in known.items():
        assert value == accuracy_of(nucleus, "chloroform", "production").uncertainty_ppm(None)
    assert any("bond orders are not known" in note for note in result["notes"])


def _molecule(directory: Path, smiles: str) -> dict[str, Any]:
    """The report of a task on another molecule, with shieldings of no meaning."""
    found = structures.read_smiles(smiles)
    assert found.bonds is not None
    rows = [{"atom": n, "element": s, "isotropic_ppm": 50.0 + n} for n, s in enumerate(found.symbols, start=1)]
    (directory / "s.json").write_text(json.dumps({"energy_hartree": -1.0, "shieldings": rows}))
    (directory / "g.xyz").write_text(write_xyz(found.symbols, placed(smiles)))
    one = {"id": "c1", "shielding": "s.json", "optimise": "s.json", "geometry": "g.xyz"}
    bonds = [list(pair) for pair in found.bonds]
    return {"symbols": list(found.symbols), "bonds": bonds, "source": {"smiles": smiles}, "conformers": [one]}
