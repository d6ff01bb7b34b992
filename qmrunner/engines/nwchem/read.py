"""What an NWChem output says: one small reader per quantity, all fed in one pass over the log.

Every reader keeps only what it must. A value that the log does not tell is None or missing, never 0.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from qmrunner import untrusted
from qmrunner.engines.nwchem.errquit import AbortReader
from qmrunner.engines.nwchem.molecule import Geometry
from qmrunner.model.jobs import Evidence

_ENERGY = re.compile(r"Total (\w[\w\- ]*?) energy\s*=\s*(-?\d+\.\d+)")
_STEP = re.compile(r"^@\s+(\d+)\s+(-?\d+\.\d+)")
_ATOM_ROW = re.compile(r"^\s+\d+\s+([A-Za-z]\S*)\s+-?\d+\.\d+((?:\s+-?\d+\.\d+){3})\s*$")
_SHIELDED = re.compile(r"Atom:\s+(\d+)\s+([A-Z][a-z]?)")
_TENSOR = re.compile(r"(isotropic|anisotropy)\s*=\s*(\S+)")
_HEADER = re.compile(r"^\s+(nwchem branch|nwchem revision|ga revision|nproc|source|compiled)\s+=\s+(\S.*)$")
_HIDDEN = re.compile(r"!! warning: .* failed")


class Reader(Protocol):
    """Takes one line (without its line end) and its number, counted from 1."""

    def feed(self, line: str, number: int) -> None: ...


class Energy:
    """The last total energy (hartree) of any theory: ``Total DFT energy = -76.418646640679``."""

    def __init__(self) -> None:
        self.hartree: float | None = None

    def feed(self, line: str, number: int) -> None:
        if "energy" in line and (match := _ENERGY.search(line)):
            self.hartree = float(match[2])


class Optimisation:
    """The optimiser's lines: steps seen, their last energy, and whether the last optimisation converged."""

    def __init__(self) -> None:
        self.steps: int | None = None
        self.hartree: float | None = None
        self.started = self.converged = False

    def feed(self, line: str, number: int) -> None:
        if line.startswith("@") and (match := _STEP.match(line)):
            self.steps, self.hartree = int(match[1]), float(match[2])
        elif "NWChem Geometry Optimization" in line:
            self.started, self.converged = True, False
        elif "Optimization converged" in line:
            self.converged = True


class Shieldings:
    """Shieldings (ppm) in the order printed: of the last task, and in `earlier` those of the tasks before it. A value
    that is not a finite number is left out.
    """

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self.earlier: list[dict[str, Any]] = []

    def feed(self, line: str, number: int) -> None:
        if "Chemical Shielding Tensors" in line:
            self.earlier += self.values
            self.values = []
        elif "Atom:" in line and (match := _SHIELDED.search(line)):
            self.values.append({"atom": int(match[1]), "element": match[2]})
        elif "isotrop" in line and self.values and (match := _TENSOR.search(line)):
            value = _finite(match[2])
            if value is not None:
                self.values[-1][f"{match[1]}_ppm"] = value

    def complete(self, every_task: bool = False) -> list[dict[str, Any]]:
        """The atoms of the last task, or of every one, whose isotropic value was printed and is finite."""
        values = [*self.earlier, *self.values] if every_task else self.values
        return [value for value in values if "isotropic_ppm" in value]


class LastGeometry:
    """The last geometry printed in angstrom, and the first one's number of atoms with its last row as evidence."""

    def __init__(self, log_name: str) -> None:
        self._log_name = log_name
        self._rows: list[tuple[str, str]] | None = None
        self.last: Geometry | None = None
        self.first_count: int | None = None
        self.first_row: Evidence | None = None

    def feed(self, line: str, number: int) -> None:
        if "Output coordinates in" in line:
            self._close()
            self._rows = [] if "angstrom" in line else None
        elif self._rows is not None:
            match = _ATOM_ROW.match(line)
            if match:
                self._rows.append((match[1], match[2]))
                if self.first_count is None:
                    self.first_row = Evidence(line.rstrip(), self._log_name, number)
            elif self._rows:
                self._close()

    def _close(self) -> None:
        if self._rows:
            xyz = [tuple(float(value) for value in row[1].split()) for row in self._rows]
            self.last = Geometry(tuple(row[0] for row in self._rows), tuple((x, y, z) for x, y, z in xyz))
            self.first_count = self.first_count or len(self._rows)
        self._rows = None


class Header:
    """What NWChem says about itself in its job information."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}

    def feed(self, line: str, number: int) -> None:
        if " = " in line and number < 400 and (match := _HEADER.match(line)):
            self.facts.setdefault(match[1], match[2].strip())

    def provenance(self) -> dict[str, Any]:
        """Version, compute ranks, MPI family (from the build directory) and build facts, as far as printed."""
        source = self.facts.get("source", "")
        nproc = self.facts.get("nproc", "")
        known = {
            "version": self.facts.get("nwchem branch"),
            "revision": self.facts.get("nwchem revision"),
            "ga_revision": self.facts.get("ga revision"),
            "compiled": self.facts.get("compiled"),
            "ranks": int(nproc) if nproc.isdigit() else None,
            "mpi": next((name for name in ("openmpi", "mpich", "intel") if name in source.lower()), None),
        }
        return {name: value for name, value in known.items() if value not in (None, "N/A")}


class Marks:
    """The marks of a run that came to its end, and of failures that `task ... ignore` hides."""

    def __init__(self) -> None:
        self.tasks_done = 0
        self.citation = self.total_times = self.hidden_failure = False

    def feed(self, line: str, number: int) -> None:
        if "Task  times  cpu:" in line:
            self.tasks_done += 1
        elif "CITATION" in line:
            self.citation = True
        elif "Total times  cpu:" in line:
            self.total_times = True
        elif "!! warning:" in line and _HIDDEN.search(line):
            self.hidden_failure = True

    @property
    def ended(self) -> bool:
        return self.citation and self.total_times


class Report:
    """Everything one pass over a log tells."""

    def __init__(self, log: Path) -> None:
        self.energy, self.optimisation, self.shieldings = Energy(), Optimisation(), Shieldings()
        self.geometry, self.header, self.marks = LastGeometry(log.name), Header(), Marks()
        self.abort = AbortReader(log.name)
        readers = (self.energy, self.optimisation, self.shieldings, self.geometry, self.header, self.marks)
        _read(log, (*readers, self.abort))


def _read(log: Path, readers: tuple[Reader, ...]) -> None:
    with suppress(FileNotFoundError):
        for number, line in enumerate(untrusted.lines(log), 1):
            for reader in readers:
                reader.feed(line, number)


def _finite(text: str) -> float | None:
    try:
        value = float(text.replace("D", "E"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
