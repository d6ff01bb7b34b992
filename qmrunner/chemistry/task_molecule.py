"""The RDKit molecule of a task: with bond orders, every hydrogen, and atoms in the order of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner.chemistry import graphs, structures, symmetry
from qmrunner.chemistry.molecule import Point
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.errors import JobFailedError, UsageError


def molecule_of(task: Mapping[str, Any]) -> Any:
    """From `smiles` or `structure` (a MOL, SDF or XYZ file). Raises UsageError as the readers do, `bonds_unclear`, and
    JobFailedError `atoms_changed` when the atoms differ from `atoms`."""
    mol = _read(task)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if symbols != list(task["atoms"]):
        raise JobFailedError(
            "atoms_changed",
            "the structure has other atoms now than when it was submitted",
            evidence=f"{len(symbols)} atoms now, {len(task['atoms'])} at submission",
            remedy="submit it again; RDKit may have been upgraded meanwhile",
        )
    return mol


def _read(task: Mapping[str, Any]) -> Any:
    if task.get("smiles"):
        return graphs.mol_from_smiles(str(task["smiles"]))
    path = Path(task["structure"])
    text = structures.decode(path.read_bytes(), path.name)
    if path.suffix.lower() == ".xyz":
        found = read_xyz(text, path.name)[0]
        return graphs.mol_from_points(found.symbols, found.coordinates or (), int(task.get("charge", 0)))
    mols = graphs.mols_from_molfile(text, path.name)
    if len(mols) != 1:
        raise UsageError("several_structures", f"{path.name} holds {len(mols)} structures, not one")
    return mols[0]


def drawable(task: Mapping[str, Any], coordinates: Sequence[Point]) -> tuple[Any, str | None]:
    """A molecule to draw, at `coordinates` in angstrom, and a note if its bond orders are unknown.

    `task` has `atoms`, `bonds`, `charge` and, where known, `source`: ``{"smiles": …}`` or ``{"structure": FILE}``.
    """
    note = None
    try:
        mol = molecule_of({**task, **(task.get("source") or {})})
    except (UsageError, JobFailedError, KeyError):
        try:
            mol = graphs.mol_from_points(task["atoms"], coordinates, int(task.get("charge", 0)))
        except UsageError:
            mol = symmetry.bare_graph(task["atoms"], [(int(a), int(b)) for a, b in task["bonds"]]).GetMol()
            note = "bond orders unknown: all are drawn single"
    for number, mass in task.get("isotopes") or ():
        mol.GetAtomWithIdx(int(number) - 1).SetIsotope(int(mass))
    return graphs.at_points(mol, coordinates), note
