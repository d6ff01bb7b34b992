"""Reads the results of earlier steps for each conformer: energies, geometries and shieldings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner.chemistry.choose_conformers import Candidate
from qmrunner.chemistry.elements import canonical
from qmrunner.chemistry.molecule import Point
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.errors import JobFailedError

_REMEDY = "check the step's log; `qmrunner retry` runs it again"


@dataclass(frozen=True, slots=True)
class Conformer:
    """One conformer: energy of its optimised structure, isotropic shieldings in ppm by atom number from 1."""

    id: str
    energy_hartree: float
    coordinates: tuple[Point, ...]
    shieldings_ppm: Mapping[int, float]


def read_conformer(entry: Mapping[str, Any], symbols: Sequence[str]) -> Conformer:
    """The conformer of one entry of the task: `id` and the files `shielding`, `optimise` (JSON), `geometry` (XYZ).

    Raises JobFailedError `incomplete_input` when a file is missing, not finite, or has other atoms.
    """
    name = str(entry["id"])
    return Conformer(
        id=name,
        energy_hartree=_energy(entry["optimise"], name),
        coordinates=_geometry(Path(entry["geometry"]), name, symbols),
        shieldings_ppm=_shieldings(read_json(entry["shielding"]), name, symbols),
    )


def read_candidates(task: Mapping[str, Any], symbols: Sequence[str]) -> list[Candidate]:
    """The conformers a `select` task names, or those of its `ensemble` file, called c1, c2 … in its order.

    Raises JobFailedError `incomplete_input`, and `no_conformers` when there is none.
    """
    if task.get("ensemble"):
        found = _ensemble(Path(task["ensemble"]), symbols)
    else:
        found = [
            Candidate(
                str(entry["id"]),
                _energy(entry["energy"], entry["id"]),
                _geometry(Path(entry["geometry"]), entry["id"], symbols),
            )
            for entry in task["conformers"]
        ]
    if not found:
        raise JobFailedError(
            "no_conformers",
            "there is no conformer to choose from",
            evidence="an empty set",
            remedy="submit with --conformers none, or give a three-dimensional structure",
        )
    return found


def _ensemble(path: Path, symbols: Sequence[str]) -> list[Candidate]:
    try:
        frames = read_xyz(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise _incomplete(path.name, str(error)) from None
    found = []
    for number, frame in enumerate(frames, start=1):
        words = frame.title.split()
        try:
            energy = float(words[0])
        except (IndexError, ValueError):
            raise _incomplete(path.name, f"structure {number} has no energy in its comment line") from None
        if frame.symbols != tuple(symbols) or frame.coordinates is None or not math.isfinite(energy):
            raise _incomplete(path.name, f"structure {number} has other atoms than the job, or no finite energy")
        found.append(Candidate(f"c{number}", energy, frame.coordinates))
    return found


def _energy(path: str, name: str) -> float:
    energy: Any = read_json(path).get("energy_hartree")
    if not _is_number(energy):
        raise _incomplete(name, f"the energy of its optimisation is not a number: {energy!r}")
    return float(energy)


def read_json(path: str) -> dict[str, Any]:
    """The JSON object of a file. Raises JobFailedError `incomplete_input` when there is none."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _incomplete(path, str(error)) from None
    if not isinstance(data, dict):
        raise _incomplete(path, "it contains no JSON object")
    return data


def _geometry(path: Path, name: str, symbols: Sequence[str]) -> tuple[Point, ...]:
    try:
        molecule = read_xyz(path.read_text(encoding="utf-8"), path.name)[-1]
    except OSError as error:
        raise _incomplete(name, str(error)) from None
    if molecule.symbols != tuple(symbols) or molecule.coordinates is None:
        raise _incomplete(name, f"{path.name} has other atoms than the job")
    return molecule.coordinates


def _shieldings(data: Mapping[str, Any], name: str, symbols: Sequence[str]) -> dict[int, float]:
    found: dict[int, float] = {}
    for row in data.get("shieldings") or ():
        number, value = row.get("atom"), row.get("isotropic_ppm")
        symbol = canonical(str(row.get("element", "")))
        if not _is_number(value) or not isinstance(number, int) or not 1 <= number <= len(symbols):
            raise _incomplete(name, f"a shielding is not usable: {row!r}")
        if symbol is not None and symbol != symbols[number - 1]:
            raise _incomplete(name, f"atom {number} is {symbol} in the shielding, {symbols[number - 1]} in the job")
        found[number] = float(value)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _incomplete(what: str, evidence: str) -> JobFailedError:
    return JobFailedError(
        "incomplete_input", f"the result of {what} is not complete", evidence=evidence, remedy=_REMEDY
    )
