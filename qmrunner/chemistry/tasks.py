"""The two tasks that run under a guardian. Each reads its task file, writes into the working directory, says how far
it is, and returns the JSON that becomes the step's result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qmrunner.chemistry import embed as embedding
from qmrunner.chemistry import graphs, report
from qmrunner.chemistry.xyz import write_xyz
from qmrunner.errors import JobFailedError, UsageError

Say = Callable[[float, str], None]


def run_embed(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """`embed`: a SMILES or a two-dimensional file to start structures.

    Reads `smiles` or `structure` (a file name), `atoms` (the element symbols that must come out), `candidates`,
    `keep` and `seed`. Writes `c1.xyz` … `cN.xyz`, lowest force-field energy first, and `geometry.xyz`, which equals
    `c1.xyz`. Raises JobFailedError `embed_failed`, `atoms_changed`.
    """
    mol = _graph(task)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if symbols != list(task["atoms"]):
        raise JobFailedError(
            "atoms_changed",
            "the structure has other atoms now than when it was submitted",
            evidence=f"{len(symbols)} atoms now, {len(task['atoms'])} at submission",
            remedy="submit it again; RDKit may have been upgraded meanwhile",
        )
    seed, candidates = int(task.get("seed", embedding.SEED)), int(task.get("candidates", 10))
    field, found = embedding.embed(mol, candidates, seed, say)
    kept = found[: int(task.get("keep", 1))]
    conformers = []
    for number, one in enumerate(kept, start=1):
        name = f"c{number}"
        comment = f"{name} {field} {one.energy_kcal_mol} kcal/mol"
        text = write_xyz(symbols, one.coordinates, comment)
        Path(f"{name}.xyz").write_text(text, encoding="utf-8")
        if number == 1:
            Path("geometry.xyz").write_text(text, encoding="utf-8")
        conformers.append(
            {
                "id": name,
                "geometry": f"{name}.xyz",
                "energy_kcal_mol": one.energy_kcal_mol,
                "converged": one.converged,
            }
        )
    say(1.0, f"kept {len(kept)} of {len(found)} structures")
    return {
        "atoms": symbols,
        "method": "ETKDGv3",
        "force_field": field,
        "seed": seed,
        "candidates": candidates,
        "embedded": len(found),
        "conformers": conformers,
        "files": ["geometry.xyz", *(f"c{number}.xyz" for number in range(1, len(kept) + 1))],
        "versions": versions(),
    }


def _graph(task: Mapping[str, Any]) -> Any:
    if task.get("smiles"):
        return graphs.mol_from_smiles(str(task["smiles"]))
    path = Path(task["structure"])
    mols = graphs.mols_from_molfile(path.read_text(encoding="utf-8-sig"), path.name)
    if len(mols) != 1:
        raise UsageError("several_structures", f"{path.name} holds {len(mols)} structures, not one")
    return mols[0]


def run_shifts(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """`shifts`: shieldings and energies of all conformers to shifts, tables and plots. See `report`."""
    result = report.evaluate(task)
    say(0.3, f"{len(result['shifts'])} shifts from {len(result['conformers'])} conformer(s)")
    files = report.write(result, task)
    say(0.6, "drawing spectra")
    files += report.draw(result)
    say(1.0, "wrote " + ", ".join(files))
    return {**result, "files": files, "versions": versions()}


def versions() -> dict[str, str | None]:
    """Versions of the packages that shape the numbers; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in ("rdkit", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
