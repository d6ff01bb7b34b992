"""The tasks that run under a guardian. Each reads its task file, writes into the working directory, reports its
progress, and returns the JSON that becomes the step's result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qmrunner.chemistry import choose_conformers, report, search, step_results, task_molecule, topology
from qmrunner.chemistry import embed as embedding
from qmrunner.chemistry.embed import Embedded
from qmrunner.chemistry.xyz import write_xyz
from qmrunner.errors import JobFailedError

Say = Callable[[float, str], None]


def run_embed(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """`embed`: a SMILES or a two-dimensional file to start structures.

    Reads `smiles` or `structure` (a file name), `atoms` (the element symbols that must come out), `candidates`,
    `keep` and `seed`. Writes `c1.xyz` … `cN.xyz`, lowest force-field energy first, and `geometry.xyz`, which equals
    `c1.xyz`. Raises JobFailedError `embed_failed`, `atoms_changed`.
    """
    mol = task_molecule.molecule_of(task)
    seed, candidates = int(task.get("seed", embedding.SEED)), int(task.get("candidates", 10))
    field, found = embedding.embed(mol, candidates, seed, say)
    kept = found[: int(task.get("keep", 1))]
    say(1.0, f"kept {len(kept)} of {len(found)} structures")
    return {
        "atoms": list(task["atoms"]),
        "method": "ETKDGv3",
        "force_field": field,
        "seed": seed,
        "candidates": candidates,
        "embedded": len(found),
        **_written(kept, field, task["atoms"]),
        "versions": versions(),
    }


def run_search(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """`search`: as `embed`, but all conformers that differ, `keep` at most; see `search.search`.

    Also reads `bonds`; `structure` may be an XYZ file, with its `charge`. The result counts what was dropped and why.
    """
    mol = task_molecule.molecule_of(task)
    seed, candidates, most = int(task.get("seed", embedding.SEED)), int(task["candidates"]), int(task["keep"])
    found = search.search(mol, _bonds(task), candidates, most, seed, say, _bonds(task, "unclear_bonds"))
    say(1.0, f"{len(found.conformers)} conformers among {candidates} structures")
    return {
        "method": "ETKDGv3",
        "force_field": found.force_field,
        "seed": seed,
        "candidates": candidates,
        **_written(found.conformers, found.force_field, task["atoms"]),
        "dropped": [{"count": count, "reason": why} for why, count in found.dropped],
        "notes": list(found.notes),
        "versions": versions(),
    }


def _written(kept: Sequence[Embedded], field: str, symbols: Sequence[str]) -> dict[str, Any]:
    """Writes the conformers. Returns the part of the result that describes them."""
    conformers = []
    for number, structure in enumerate(kept, start=1):
        name = f"c{number}"
        text = write_xyz(symbols, structure.coordinates, f"{name} {field} {structure.energy_kcal_mol} kcal/mol")
        Path(f"{name}.xyz").write_text(text, encoding="utf-8")
        if number == 1:
            Path("geometry.xyz").write_text(text, encoding="utf-8")
        conformers.append(
            {
                "id": name,
                "geometry": f"{name}.xyz",
                "energy_kcal_mol": structure.energy_kcal_mol,
                "converged": structure.converged,
            }
        )
    return {
        "conformers": conformers,
        "files": ["geometry.xyz", *(f"{conformer['id']}.xyz" for conformer in conformers)],
    }


def run_select(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """`select`: selects the conformers to keep; see `select.choose`.

    Reads `conformers` (`id`, `energy`: a JSON file with `energy_hartree`, `geometry`: an XYZ file) or `ensemble` (an
    XYZ file of all, energy in hartree in each comment), `symbols`, `bonds`, `window_kcal`, `most`, `temperature_k`,
    and, if given, `unclear_bonds`, `allow_topology_change` and `vacuum`. Writes the kept ones as `cN.xyz`, the lowest
    also as `geometry.xyz`, and all kept as `ensemble.xyz`. Raises JobFailedError `incomplete_input`, `no_conformers`,
    `topology_changed` if none is the submitted molecule."""
    symbols = list(task["symbols"])
    candidates = step_results.read_candidates(task, symbols)
    say(0.2, f"comparing {len(candidates)} conformers")
    other = choose_conformers.reacted(candidates, symbols, _bonds(task), _bonds(task, "unclear_bonds"))
    accepts = bool(task.get("allow_topology_change"))
    if len(other) == len(candidates) and not accepts:
        raise JobFailedError(
            topology.CODE,
            f"all {len(candidates)} conformers became another molecule",
            evidence=other[candidates[0].id],
            remedy=topology.remedy(in_vacuum=bool(task.get("vacuum"))),
        )
    rows = choose_conformers.choose(
        candidates,
        symbols,
        _bonds(task),
        window_kcal=float(task["window_kcal"]),
        most=task.get("most"),
        temperature_k=float(task["temperature_k"]),
        refused={} if accepts else other,
    )
    points = {candidate.id: candidate.coordinates for candidate in candidates}
    kept = [row["id"] for row in rows if row["state"] == "kept"]
    for name in kept:
        Path(f"{name}.xyz").write_text(write_xyz(symbols, points[name], name), encoding="utf-8")
    Path("geometry.xyz").write_bytes(Path(f"{kept[0]}.xyz").read_bytes())
    Path("ensemble.xyz").write_text(choose_conformers.ensemble_xyz(rows, symbols, points), encoding="utf-8")
    say(1.0, f"kept {len(kept)} of {len(rows)} conformers")
    return {
        "energy_hartree": rows[0]["energy_hartree"],
        "kept": kept,
        "conformers": rows,
        "window_kcal": task["window_kcal"],
        "most": task.get("most"),
        "rmsd_angstrom": choose_conformers.SAME_ANGSTROM,
        "notes": _of_others(other, kept, accepts),
        "files": ["ensemble.xyz", "geometry.xyz", *(f"{name}.xyz" for name in kept)],
        "versions": versions(),
    }


def _of_others(other: Mapping[str, str], kept: Sequence[str], accepts: bool) -> list[str]:
    """Notes on conformers that became another molecule."""
    if accepts:
        return [f"{name}: {topology.accepted(text)}" for name, text in other.items() if name in kept]
    return [f"{name} was dropped because it became another molecule: {text}" for name, text in other.items()]


def run_shifts(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """`shifts`: converts shieldings and energies of all conformers into shifts, tables and plots. See `report`."""
    task, changes = report.as_computed(task)
    result = report.evaluate(task)
    table = result.pop("by_conformer")  # large with many conformers: in a file, not in the store
    say(0.3, f"{len(result['shifts'])} shifts from {len(result['conformers'])} conformer(s)")
    files = report.write(result, task) + report.write_ensemble(result, table)
    say(0.6, "drawing spectra and structure")
    files += report.draw(result)
    drawn, notes = report.show(result, task)
    files += drawn
    say(1.0, "wrote " + ", ".join(files))
    return {**result, "files": files, "notes": [*changes, *result["notes"], *notes], "versions": versions()}


TASKS: dict[str, Callable[[Mapping[str, Any], Say], dict[str, Any]]] = {
    "embed": run_embed,
    "search": run_search,
    "select": run_select,
    "shifts": run_shifts,
}


def _bonds(task: Mapping[str, Any], name: str = "bonds") -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in task.get(name) or ()]


def versions() -> dict[str, str | None]:
    """Versions of the packages that affect the numbers; None for one that is not installed."""
    found: dict[str, str | None] = {}
    for package in ("rdkit", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
