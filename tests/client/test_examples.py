"""The notebooks of `examples/notebooks` run as they are in a kernel of Jupyter, on a fresh home with the real daemon
and engines. They are kept without outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, Daemon, Home

EXAMPLES = ROOT / "examples" / "notebooks"
# What the outputs of each contain, as text or as one of the types that Jupyter shows.
SHOWN = {
    "first_prediction": ("13C", "C 1 5", "Atoms(symbols='COH4'", "data:image/svg+xml;base64,", "<progress "),
    "compare_with_experiment": ("absolute error", "mean", "error_ppm", "image/png", "data:image/svg+xml;base64,"),
    "conformer_study": ("180°", "weight"),
    "killed_worker": ("killed; the job is running", "succeeded [", "job_accepted"),
    "huey_app": ("18.015", "weigh succeeded", "weighing H2O"),
}
OWN_WORKER = ("killed_worker", "huey_app")
# Runs a notebook and writes it with its outputs; the time limit is that of one cell.
RUN = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], as_version=4)
try:
    nbclient.NotebookClient(book, timeout=400, kernel_name="python3").execute()
finally:
    nbformat.write(book, sys.argv[2])
"""


def notebooks() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in EXAMPLES.glob("*.ipynb")}


def test_every_notebook_is_run_and_kept_without_outputs() -> None:
    pytest.importorskip("nbformat")
    import nbformat

    found = notebooks()
    assert set(found) == set(SHOWN)
    for name, book in found.items():
        nbformat.validate(nbformat.from_dict(book))
        cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), name
        assert set(book["metadata"]) == {"kernelspec", "language_info"}, name
        for cell in cells:
            compile("".join(cell["source"]), name, "exec")


def test_the_table_of_measured_shifts_is_that_of_molecules_and_atoms() -> None:
    """Each row names an atom of its element; a molecule has one SMILES."""
    import csv

    from qmrunner.chemistry.structures import read_smiles

    rows = list(csv.DictReader((EXAMPLES / "measured.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["name"] for row in rows}) == len({(row["name"], row["smiles"]) for row in rows}) == 50
    assert len({row["smiles"] for row in rows}) == 50
    assert {row["source"] for row in rows} == {"DELTA50", "Fulmer 2010"}
    assert len({(row["name"], row["atom"]) for row in rows}) == len(rows)
    symbols = {smiles: read_smiles(smiles).symbols for smiles in {row["smiles"] for row in rows}}
    for row in rows:
        symbol = symbols[row["smiles"]][int(row["atom"]) - 1]
        assert symbol == row["nucleus"].strip("0123456789"), row
        assert -5 < float(row["measured_ppm"]) < 250


def test_atoms_that_the_smiles_does_not_distinguish_have_one_measured_shift() -> None:
    """Which of two such methyl groups is cis to a neighbour, the numbers of the atoms do not show."""
    import csv

    from rdkit import Chem

    from qmrunner.chemistry.graphs import mol_from_smiles

    measured: dict[tuple[str, int], set[str]] = {}
    for row in csv.DictReader((EXAMPLES / "measured.csv").read_text(encoding="utf-8").splitlines()):
        ranks = Chem.CanonicalRankAtoms(mol_from_smiles(row["smiles"]), breakTies=False)
        measured.setdefault((row["name"], ranks[int(row["atom"]) - 1]), set()).add(row["measured_ppm"])
    assert {key: shifts for key, shifts in measured.items() if len(shifts) > 1} == {}


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ranks
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs_to_its_end(name: str, home: Home, daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    if name not in OWN_WORKER:
        daemon()
    folder = tmp_path / "work"
    shutil.copytree(EXAMPLES, folder)
    environment = {**home.environment(PYTHONPATH=str(ROOT)), "TMPDIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, f"{name}.ipynb", str(tmp_path / "run.ipynb")], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((tmp_path / "run.ipynb").read_text())["cells"]
    shown = json.dumps([cell.get("outputs") for cell in cells], ensure_ascii=False)
    for words in SHOWN[name]:
        assert words in shown, shown[:20_000]
    assert '"output_type": "error"' not in shown
