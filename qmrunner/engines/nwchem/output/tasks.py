"""Splits an output into the tasks of its deck, with the outcome of each.

NWChem prints a banner when it starts to read up to the next task line, and each task's times after it. A low print
level suppresses both, which the deck shows; tasks without a banner after them share the part of the output up to the
next banner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.input.generated_deck import Geometry
from qmrunner.engines.nwchem.output import unconverged
from qmrunner.engines.nwchem.output.energies import Energy, EnergyReader
from qmrunner.engines.nwchem.output.rtdb import Database
from qmrunner.engines.nwchem.output.tables import GeometryReader
from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Evidence

_BANNER = re.compile(r"^ {20,}NWChem Input Module\s*$")
_TIMES = "Task  times  cpu:"
_IGNORED = re.compile(r"^\s*!! warning: .* failed")
# Operations that change the geometry.
MOVING = frozenset({
    "optimize", "saddle", "mepgs", "dynamics", "qmd", "cell_optimize", "nwpw-optimize", "steepest_descent",
    "car-parrinello", "born-oppenheimer", "metropolis",
})  # fmt: skip
_OPTIMISING = frozenset({"optimize", "saddle"})
# Operations for which the database only has an energy of a path or of a displaced geometry; for those below, only if
# gradients were computed.
_UNPROVEN = frozenset({"raman", "vscf", "neb", "string"})
_BY_GRADIENTS = frozenset({"freq", "hessian"})
# Tasks that compute no energy and keep the stored energies of others.
_WITHOUT_ENERGY = frozenset({"shell", "esp", "dplot", "nbo"})
_AT_ITS_GEOMETRY = frozenset({"energy", "gradient", "optimize", "saddle"})
_UNKNOWN = Asked("", "")


@dataclass(frozen=True, slots=True)
class Record:
    """One task: `number` from 1, the lines of the log that belong to it (from 1, both included), whether it `ended`,
    its energy, why it is not a success (`problem`), and its last geometry, in angstrom."""

    number: int
    asked: Asked
    first_line: int
    last_line: int
    ended: bool
    energy: Energy | None = None
    problem: Finding | None = None
    geometry: Geometry | None = None
    steps: int | None = None

    @property
    def energy_hartree(self) -> float | None:
        return None if self.energy is None else self.energy.hartree

    @property
    def energy_of(self) -> str | None:
        return None if self.energy is None else self.energy.of

    def as_dict(self) -> dict[str, Any]:
        """Its entry in a result; unknown values are left out."""
        state = "failed" if self.problem else "succeeded" if self.ended else "unfinished"
        found = {
            "task": self.asked.title,
            "state": state,
            "code": self.problem.code if self.problem else None,
            "energy_hartree": self.energy_hartree,
            "energy_of": self.energy_of,
            "symmetry": self.energy.symmetry if self.energy else None,
            "multiplicity": self.energy.multiplicity if self.energy else None,
            "steps": self.steps,
        }
        return {name: value for name, value in found.items() if value is not None}


class TaskReader:
    """Reads a log line by line (a `read.Reader`). `asked` are the deck's tasks; without them every part counts as a
    task."""

    def __init__(self, asked: Sequence[Asked], log_name: str) -> None:
        self._asked = list(asked)
        self._log_name = log_name
        self._at = 0
        self._part = self._next(1)
        self._parts = [self._part]
        self._begun = False

    def feed(self, line: str, number: int) -> None:
        self._part.last_line = number
        if "NWChem Input Module" in line and _BANNER.match(line):
            if self._begun and (self._at < len(self._asked) or not self._asked):
                self._part.ended = True
                self._part = self._next(number)
                self._parts.append(self._part)
            elif self._begun:
                self._part.ended = True
            self._begun = True
        else:
            self._part.ended |= "CITATION" in line and not self._part.named
            self._part.feed(line, number)

    def records(self) -> tuple[Record, ...]:
        """The tasks whose part has begun, in order."""
        parts = self._parts
        if not self._asked and len(parts) > 1 and not parts[-1].timed:
            parts = parts[:-1]  # NWChem also continues to read after the last task
        found = [record for part in parts for record in part.records()]
        return tuple(replace(record, number=number) for number, record in enumerate(found, 1))

    @property
    def energy(self) -> EnergyReader:
        """The record of the running task."""
        return self._part.energy

    @property
    def timed(self) -> int:
        """The number of tasks whose times were printed."""
        return sum(part.timed for part in self._parts)

    @property
    def first_geometry(self) -> tuple[int, Evidence] | None:
        """Centres of the first geometry printed, and its last row."""
        first = next((part.geometry for part in self._parts if part.geometry.first_count), None)
        return None if first is None or first.first_row is None else (first.first_count or 0, first.first_row)

    def _next(self, number: int) -> _Part:
        first = self._at
        while self._at < len(self._asked) and not self._asked[self._at].named:
            self._at += 1
        self._at += 1
        return _Part(self._asked[first : self._at] or [_UNKNOWN], number, self._log_name)


class _Part:
    """The output of one task, or of several without a banner between them: then the values belong to the last."""

    def __init__(self, asked: list[Asked], first_line: int, log_name: str) -> None:
        self._asked = asked
        self._log_name = log_name
        self.first_line = self.last_line = first_line
        self.named = asked[-1].named
        self.ended = False
        self.timed = 0
        self._failed: list[Evidence] = []
        self.energy = EnergyReader(asked[-1])
        self.geometry = GeometryReader(log_name)
        self._watch = unconverged.Watch(asked[-1], log_name)

    def feed(self, line: str, number: int) -> None:
        if _TIMES in line:
            self.timed += 1
            self.ended = True
            return
        if "!! warning" in line and _IGNORED.match(line):
            self._failed.append(Evidence(line.rstrip(), self._log_name, number))
        self.energy.feed(line, number)
        self.geometry.feed(line, number)
        self._watch.feed(line, number)

    def records(self) -> list[Record]:
        *earlier, last = self._asked
        found = [self._record(asked, self._problem(asked, None)) for asked in earlier]
        problem = self._problem(last, self._watch.found)
        record = self._record(last, problem)
        # The last values of a failed task are not results, but the steps of an optimisation are.
        counts = problem is None or (last.operation in _OPTIMISING and self.energy.steps is not None)
        energy = self.energy.found if counts else None
        moved = last.operation in MOVING or (not last.theory and self.energy.steps is not None)
        geometry = self.geometry.last if moved else None
        return [*found, replace(record, energy=energy, geometry=geometry, steps=self.energy.steps)]

    def _record(self, asked: Asked, problem: Finding | None) -> Record:
        return Record(0, asked, self.first_line, self.last_line, self.ended, problem=problem)

    def _problem(self, asked: Asked, mark: Finding | None) -> Finding | None:
        """The part that did not converge; else NWChem's message that the task failed, which it prints with `ignore`."""
        for evidence in self._failed:
            match = unconverged.FAILED.match(evidence.text)
            if match and (match[1] == asked.title or len(self._asked) == 1):
                return mark or unconverged.silent(asked, evidence)
        return mark


def proven(records: tuple[Record, ...], database: Database | None, geometries: int | None) -> tuple[Record, ...]:
    """The records, with facts about the last task and the last geometry that only the database has.

    `geometries` is how many geometry blocks the deck has; None when that is not known.
    """
    if database is None or not records:
        return records
    found = list(records)
    at = next((n for n in range(len(found) - 1, -1, -1) if found[n].asked.theory not in _WITHOUT_ENERGY), None)
    if at is not None and found[at].energy is None and found[at].problem is None:
        found[at] = _with_energy(found[at], database, last=at == len(found) - 1)
    moved = next((n for n in range(len(found) - 1, -1, -1) if found[n].asked.operation in MOVING), None)
    if moved is not None and found[moved].geometry is None and found[moved].asked.geometries == geometries:
        found[moved] = replace(found[moved], geometry=database.geometry())
    return tuple(found)


def _with_energy(record: Record, database: Database, last: bool) -> Record:
    """The energy in the database for the last task, or for the theory of a task after which no other task with an
    energy follows."""
    asked = record.asked
    if last:
        titles = (asked.title, asked.theory if asked.operation == "energy" else "")
        displaced = asked.operation in _UNPROVEN or (asked.operation in _BY_GRADIENTS and database.displaced)
        energy = database.energy_hartree if database.title in titles and not displaced else None
    else:
        of_theory = asked.operation in _AT_ITS_GEOMETRY and not asked.bsse
        energy = database.energy_of("mp2" if asked.dftmp2 else asked.theory) if of_theory else None
    if energy is None or not asked.operation:
        return record
    return replace(record, energy=Energy(energy, EnergyReader(asked).name))
