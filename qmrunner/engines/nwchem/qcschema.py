"""The settings of one NWChem task as printed in its output, and its `qcschema.json`. Checked against NWChem 7.0.2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.engines import qcschema, qcschema_result
from qmrunner.engines.nwchem.input.generated_deck import Geometry
from qmrunner.engines.nwchem.output.numbers import Table, number, numbers
from qmrunner.engines.nwchem.output.rtdb import BOHR_PER_ANGSTROM as NWCHEM_BOHR_PER_ANGSTROM
from qmrunner.engines.nwchem.output.rtdb import Database
from qmrunner.engines.nwchem.output.steps import Gradient, Point
from qmrunner.engines.nwchem.output.tasks import Record
from qmrunner.engines.qcschema_input import Request

_CHARGE = re.compile(r"^\s+[Cc]harge\s+[=:]\s+(-?\d+)(?:\.0+)?\s*$")
_SPIN = re.compile(r"^\s+Spin multiplicity:\s+(\d+)\s*$")
_OPEN = re.compile(r"^\s+(open shells|alpha electrons|beta  electrons)\s+=\s+(\d+)\s*$")
_FUNCTIONS = re.compile(r"^\s+(?:functions\s+=|AO basis - number of functions:)\s+(\d+)\s*$")
_REPULSION = re.compile(r"^ Effective nuclear repulsion energy \(a\.u\.\)\s+(\S+)")
# Operation of a task → driver of QCSchema.
_DRIVERS = {
    "": "energy", "energy": "energy", "gradient": "gradient", "freq": "hessian", "frequencies": "hessian",
    "hessian": "hessian", "property": "properties",
}  # fmt: skip
_MOST_HESSIAN_ATOMS = 200
_PRINTED = 1e-6  # NWChem prints six decimals


class Setting:
    """Current charge, multiplicity, basis and derivatives of a task."""

    def __init__(self) -> None:
        row = r"^ (\S+)\s+(\S.*?)\s{2,}\d+\s+\d+\s+\S+\s*$"
        self._basis = Table("Summary of", row, r'Summary of "ao basis" -> "[^"]+"')
        self._gradient = Gradient()
        self._shells: dict[str, int] = {}
        self.charge: int | None = None
        self._multiplicity: int | None = None
        self.functions: int | None = None
        self.nuclear_repulsion_hartree: float | None = None

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        self._basis.feed(line)
        self._gradient.feed(line)
        if match := _CHARGE.match(line):
            self.charge = int(match[1])
        elif match := _SPIN.match(line):
            self._multiplicity, self._shells = int(match[1]), {}
        elif match := _OPEN.match(line):
            self._shells[match[1]], self._multiplicity = int(match[2]), None
        elif match := _FUNCTIONS.match(line):
            self.functions = int(match[1])
        elif match := _REPULSION.match(line):
            self.nuclear_repulsion_hartree = number(match[1])

    @property
    def multiplicity(self) -> int | None:
        """2 S + 1."""
        if self._multiplicity is not None or not self._shells:
            return self._multiplicity
        alpha, beta = (self._shells.get(name) for name in ("alpha electrons", "beta  electrons"))
        if alpha is not None and beta is not None:
            return abs(alpha - beta) + 1
        unpaired = self._shells.get("open shells")
        return None if unpaired is None else unpaired + 1

    @property
    def basis(self) -> str | None:
        """The basis name in NWChem; several names in the order of the elements."""
        return " / ".join(dict.fromkeys(row[1].strip() for row in self._basis.rows)) or None

    def gradient(self) -> list[float] | None:
        """Hartree/bohr, atom by atom, of the last gradient."""
        return self._gradient.found()


def document(
    record: Record,
    setting: Setting,
    geometry: Geometry,
    result: Mapping[str, Any],
    directory: Path,
    database: Database | None = None,
    request: Request | None = None,
    points: Sequence[Point] = (),
) -> str | None:
    """The text of `qcschema.json` for a task at `geometry`; None if it cannot be an AtomicResult.

    `result` has the quantities of the task, and the provenance. The gradient of `database` has more digits than the
    printed one. With a `request`, the document answers that input; `points` are those of its optimisation.
    """
    driver = _DRIVERS.get(record.asked.operation)
    energy, charge, multiplicity = record.energy, setting.charge, setting.multiplicity
    if driver is None or energy is None or charge is None or multiplicity is None:
        return None
    if record.asked.bsse:
        return None  # an energy of several systems
    # NWChem converts by its own factor: with it the coordinates are those of its database.
    per_angstrom = qcschema.BOHR_PER_ANGSTROM if request is None else NWCHEM_BOHR_PER_ANGSTROM
    left_out = ("provenance", "files", "notes", "tasks")
    printed = setting.gradient() if driver == "gradient" else None
    stored = database.gradient(len(geometry.atoms)) if database is not None and printed is not None else None
    run = qcschema.Run(
        program="NWChem",
        version=result.get("provenance", {}).get("nwchem", {}).get("version"),
        driver=driver,
        method=energy.of,
        basis=setting.basis,
        symbols=geometry.atoms,
        coordinates_bohr=[value * per_angstrom for point in geometry.xyz for value in point],
        charge=charge,
        multiplicity=multiplicity,
        energy_hartree=energy.hartree,
        energies=result.get("energies_hartree") or {},
        gradient=_agreed(stored, printed),
        hessian=_hessian(directory, len(geometry.atoms)) if driver == "hessian" else None,
        functions=setting.functions,
        nuclear_repulsion_hartree=setting.nuclear_repulsion_hartree,
        quantities={name: value for name, value in result.items() if name not in left_out},
    )
    if request is None:
        return qcschema.document(run)
    return qcschema_result.document(run, request, [_step(run, point, per_angstrom) for point in points])


def _step(run: qcschema.Run, point: Point, per_angstrom: float) -> qcschema.Run:
    """A step of the optimisation that ended with `run`."""
    return replace(
        run,
        driver="energy" if point.gradient is None else "gradient",
        symbols=point.geometry.atoms,
        coordinates_bohr=[value * per_angstrom for atom in point.geometry.xyz for value in atom],
        energy_hartree=point.energy_hartree,
        energies={},
        gradient=point.gradient,
        hessian=None,
        nuclear_repulsion_hartree=None,
        quantities={},
    )


def _agreed(stored: list[float] | None, printed: list[float] | None) -> list[float] | None:
    """The stored gradient if it is the printed one with more digits; else the printed one."""
    if stored is None or printed is None or len(stored) != len(printed):
        return printed
    return stored if all(abs(a - b) < _PRINTED for a, b in zip(stored, printed, strict=True)) else printed


def _hessian(directory: Path, atoms: int) -> list[float] | None:
    """The whole Cartesian Hessian (hartree/bohr²), row by row, from the lower triangle that NWChem writes; None if
    there is none, or if another optimisation left a second one."""
    side = 3 * atoms
    found = [path for path in directory.glob("*.hess") if not path.name.endswith(".drv.hess")]
    try:
        words = untrusted.read_text(found[0]).split() if len(found) == 1 and atoms <= _MOST_HESSIAN_ATOMS else []
    except OSError:
        return None
    values = numbers(words)
    if values is None or len(values) != side * (side + 1) // 2:
        return None
    return [values[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)] for i in range(side) for j in range(side)]
