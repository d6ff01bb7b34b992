"""`qcschema.json` of an xTB run: one structure, its energy, gradient or Hessian. Checked against xTB 6.5.1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.engines import qcschema
from qmrunner.errors import UsageError

_VERSION = re.compile(r"xtb version +(\d[\w.-]*)")
_HEAD_LINES = 200
_MOST_HESSIAN_ATOMS = 200


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
