"""`qcschema.json` of an xTB run: one structure, its energy, gradient or Hessian. Checked against xTB 6.5.1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.engines import qcschema, qcschema_result
from qmrunner.engines.qcschema_input import Request
from qmrunner.engines.xtb.read import frames
from qmrunner.errors import UsageError

_VERSION = re.compile(r"xtb version +(\d[\w.-]*)")
_HEAD_LINES = 200
_MOST_HESSIAN_ATOMS = 200
_STEPS = "xtbopt.log"
_MOST_NUMBERS = 300_000  # the coordinates of all steps together


def document(
    structure: Path,
    driver: str,
    charge: int,
    multiplicity: int,
    result: Mapping[str, Any],
    log: Path,
    derivative: Path | None,
) -> str | None:
    """The text of the file; None if `structure` (XYZ) or the file of the `derivative` does not match the run.

    `result` holds `energy_hartree`, `energy_of` and the quantities.
    """
    energy, method = result.get("energy_hartree"), result.get("energy_of")
    if energy is None or method is None:
        return None
    try:
        molecule = read_xyz(untrusted.read_text(structure), structure.name)[0]
        values = None if derivative is None else _numbers(derivative, driver, len(molecule.symbols))
    except (OSError, ValueError, UsageError):
        return None
    if molecule.coordinates is None or not molecule.plain:
        return None  # xTB may have read other columns
    return qcschema.document(
        qcschema.Run(
            program="xtb",
            version=_version(log),
            driver=driver,
            method=method,
            basis=None,
            symbols=molecule.symbols,
            coordinates_bohr=[x * qcschema.BOHR_PER_ANGSTROM for point in molecule.coordinates for x in point],
            charge=charge,
            multiplicity=multiplicity,
            energy_hartree=energy,
            gradient=values if driver == "gradient" else None,
            hessian=values if driver == "hessian" else None,
            quantities={name: value for name, value in result.items() if name not in ("notes", "warnings")},
        )
    )


def answer(structure: Path, request: Request, result: Mapping[str, Any], log: Path, directory: Path) -> str | None:
    """The text of the file that answers a `request`, for its run at `structure` (Turbomole's format, in bohr)."""
    energy = result.get("energy_hartree")
    # xTB optimises without leaving the gradient of its last point.
    driver = "energy" if request.optimisation else request.driver
    try:
        symbols, coordinates = _coord(structure)
        values = None if driver == "energy" else _numbers(directory / driver, driver, len(symbols))
    except (OSError, ValueError):
        return None
    if energy is None:
        return None
    run = qcschema.Run(
        program="xtb",
        version=_version(log),
        driver=driver,
        method=request.method,
        basis=None,
        symbols=symbols,
        coordinates_bohr=coordinates,
        charge=request.charge,
        multiplicity=request.multiplicity,
        energy_hartree=energy,
        gradient=values if driver == "gradient" else None,
        hessian=values if driver == "hessian" else None,
        quantities={name: value for name, value in result.items() if name not in ("notes", "warnings")},
    )
    return qcschema_result.document(run, request, _steps(run, directory) if request.optimisation else ())


def _steps(run: qcschema.Run, directory: Path) -> list[qcschema.Run]:
    """The points of the optimisation that ended with `run`. xTB writes their energies, and no gradients."""
    return [
        replace(
            run,
            symbols=frame.symbols,
            coordinates_bohr=[value * qcschema.BOHR_PER_ANGSTROM for value in frame.coordinates],
            energy_hartree=frame.energy_hartree,
            quantities={},
        )
        for frame in frames(directory / _STEPS, _MOST_NUMBERS)
    ]


def _coord(path: Path) -> tuple[list[str], list[float]]:
    """Symbols and coordinates (bohr) of a file in Turbomole's format. Raises OSError, ValueError."""
    symbols: list[str] = []
    flat: list[float] = []
    for line in untrusted.read_text(path).splitlines():
        words = line.split()
        if symbols and line.startswith("$"):
            break
        if len(words) == 4 and not line.startswith("$"):
            flat += [float(word) for word in words[:3]]
            symbols.append(words[3].capitalize())
    return symbols, flat


def _version(log: Path) -> str | None:
    hits = (_VERSION.search(line) for line in islice(untrusted.lines(log), _HEAD_LINES))
    return next((hit[1] for hit in hits if hit), None)


def _numbers(path: Path, driver: str, atoms: int) -> Sequence[float] | None:
    """From xTB's `gradient` the second half of the lines after its heading (hartree/bohr), from its `hessian` all
    numbers.

    Raises OSError, ValueError.
    """
    if atoms > _MOST_HESSIAN_ATOMS and driver == "hessian":
        return None
    lines = [line for line in untrusted.read_text(path).splitlines() if not line.lstrip().startswith("$")]
    if driver == "gradient":
        lines = lines[1 + atoms : 1 + 2 * atoms]
    return [float(word.replace("D", "E")) for line in lines for word in line.split()]
