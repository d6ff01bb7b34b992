"""Checks whether the structure after a run is still the molecule of the job, for every engine that moves atoms.

Params of a step that are read here: `bonds` (pairs of atom numbers from 1; without them nothing is compared),
`unclear_bonds` (pairs that the input leaves open), `allow_topology_change`, and the params with the solvent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.chemistry import topology
from qmrunner.chemistry.molecule import Point
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.engines import failures
from qmrunner.engines.signatures import Finding
from qmrunner.errors import UsageError
from qmrunner.model.jobs import Evidence, Outcome

Pairs = Sequence[tuple[int, int]]


def changed(params: Mapping[str, Any], geometry: Path) -> tuple[Finding | None, tuple[str, ...]]:
    """Why the structure in `geometry` (XYZ, its last frame) is not the molecule; or, if the job accepts that, a note
    about the change. Both are empty if the bonds are those of the input, or unknown."""
    points = _points(geometry) if params.get("bonds") else None
    if points is None:
        return None, ()
    symbols, bonds = [str(symbol) for symbol in params["atoms"]], pairs(params["bonds"])
    change = topology.compare(symbols, bonds, points, pairs(params.get("unclear_bonds")))
    if not change:
        return None, ()
    text = topology.described(change, symbols, bonds)
    if params.get("allow_topology_change"):
        return None, (topology.accepted(text),)
    solvent = params.get("alpb") or params.get("cosmo")
    evidence = Evidence(f"it became another molecule: {text}", geometry.name)
    return Finding(topology.CODE, "method", evidence, topology.remedy(in_vacuum=solvent is None)), ()


def refused(params: Mapping[str, Any], geometry: Path, result: dict[str, Any]) -> Outcome | None:
    """The failure, with the values known in `result`, of a run whose `geometry` is another molecule; None if it is the
    same. An accepted change is added to the notes of `result`."""
    problem, notes = changed(params, geometry)
    if problem is not None:
        return replace(failures.failed(problem), result=result)
    if notes:
        result["notes"] = [*result.get("notes", ()), *notes]
    return None


def pairs(rows: Sequence[Sequence[int]] | None) -> Pairs:
    """Pairs of atom numbers from JSON."""
    return [(int(first), int(second)) for first, second in rows or ()]


def _points(geometry: Path) -> Sequence[Point] | None:
    """Coordinates in angstrom; None for a missing or incomplete file, which other checks report."""
    try:
        return read_xyz(untrusted.read_text(geometry), geometry.name)[-1].coordinates
    except (OSError, UsageError):
        return None
