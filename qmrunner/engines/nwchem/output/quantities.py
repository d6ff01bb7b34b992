"""Quantities of an NWChem run in addition to its energies: by task, with names that contain the unit.

Each reader keeps the last value that its task printed. A quantity that was not printed, or is not a number, has no
entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from qmrunner.engines.nwchem.output import electrons, magnetic, paths, response, vibrations
from qmrunner.engines.nwchem.output.tasks import Record
from qmrunner.engines.nwchem.qcschema import Setting

_BANNER = "NWChem Input Module"
# After these lines a task computes displaced geometries or fragments, until its next step.
_ASTRAY = re.compile(
    r"^\s*atom:\s+\d+ xyz: \d\([+-]\)|^ Finite difference step |^  output vectors  = \S+\.bsse\.movecs"
    r"|^\s*ramanpolfile=|^ VSCF: Energy and dipole for (?:pair )?grid point"
)
_STEP = re.compile(r"^@|^ {6,}Step +\d+\s*$")
# Rounding of the printed charges (e): an effective core potential replaces two electrons or more. Where the charge of
# the molecule was not printed, a higher one than any molecule of this size has.
_MOST_OFF, _HIGHEST_CHARGE = 1.0, 6.0
# Limits for a whole output: the number of tasks, and of entries of lists.
_MOST_TASKS, _MOST_ENTRIES = 1000, 1_000_000


class _Reader(Protocol):
    def feed(self, line: str) -> None: ...
    def found(self) -> dict[str, Any]: ...


class Task:
    """The quantities of one task, which begins at line `first_line` of the output."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.setting = Setting()
        self._astray = False
        self._of_structure: tuple[_Reader, ...] = (
            electrons.Dipole(), electrons.Charges(), electrons.Quadrupole(), electrons.Orbitals(),
            electrons.Solvation(), response.Excitations(), response.Polarizabilities(), response.Couplings(),
            paths.Levels(), magnetic.Shieldings(), magnetic.Hyperfine(), magnetic.GShift(), magnetic.FieldGradients(),
        )  # fmt: skip
        self._reaction = paths.ReactionPath()
        self._of_task: tuple[_Reader, ...] = (
            vibrations.Vibrations(), vibrations.Raman(), vibrations.AnharmonicModes(), paths.Path(),
            paths.Trajectory(), paths.ElectronTransfer(), self._reaction,
        )  # fmt: skip

    def feed(self, line: str) -> None:
        """One line of its output."""
        self.setting.feed(line)
        if _STEP.match(line):
            self._astray = False
        elif _ASTRAY.match(line):
            self._astray = True
        if not self._astray:
            for reader in self._of_structure:
                reader.feed(line)
        for reader in self._of_task:
            reader.feed(line)

    def found(self) -> dict[str, Any]:
        """Its current quantities."""
        found: dict[str, Any] = {}
        for reader in self._of_task:
            found |= reader.found()
        if self._reaction.begun:
            return self._reaction.found()  # the modes are those of its first step, in other units
        if "path_energies_hartree" in found:
            return found  # all other values belong to the bead that happened to be last
        for reader in self._of_structure:
            found |= reader.found()
        if charges := found.get("charges_e"):
            whole = self.setting.charge
            off = abs(sum(charges) - (whole or 0))
            if off > (_HIGHEST_CHARGE if whole is None else _MOST_OFF):
                del found["charges_e"]  # of nuclei whose core potential is not in the table
        return found


class Quantities:
    """Reads a whole output, line by line (a `read.Reader`)."""

    def __init__(self) -> None:
        self._ended: list[tuple[int, dict[str, Any], Setting]] = []
        self._task = Task(1)
        self._entries = 0

    def feed(self, line: str, number: int) -> None:
        """A line, and its number from 1."""
        if _BANNER in line:
            self._close()
            self._task = Task(number)
        else:
            self._task.feed(line)

    def _close(self) -> None:
        found = self._task.found()
        self._entries += sum(len(value) for value in found.values() if isinstance(value, list))
        if len(self._ended) < _MOST_TASKS and self._entries < _MOST_ENTRIES:
            self._ended.append((self._task.first_line, found, self._task.setting))

    def of(self, record: Record, directory: Path) -> dict[str, Any]:
        """The quantities of a task, including those that need its energy or the files in `directory`."""
        found: dict[str, Any] = {}
        for line, quantities, _ in self._all():
            found |= quantities if _within(record, line) else {}
        return completed(found, record.energy_hartree, directory)

    def setting(self, record: Record) -> Setting | None:
        """The settings of a task's calculation."""
        within = (setting for line, _, setting in self._all() if _within(record, line) and setting.charge is not None)
        return next(within, None)

    def _all(self) -> Iterator[tuple[int, dict[str, Any], Setting]]:
        yield from self._ended
        yield self._task.first_line, self._task.found(), self._task.setting


def _within(record: Record, line: int) -> bool:
    """Whether a task that begins at `line` is this one. The banner of the next task is the last line of a record."""
    return record.first_line <= line < record.last_line


def completed(found: dict[str, Any], energy_hartree: float | None, directory: Path) -> dict[str, Any]:
    """The quantities of a task, including those that need its energy (hartree) or are in a file named in its output."""
    whole = {name: value for name, value in found.items() if name != "raman_file"}
    whole |= vibrations.at_one_temperature(found, energy_hartree)
    if "raman_file" in found:
        try:
            whole |= vibrations.raman_activities(directory / found["raman_file"])
        except OSError as problem:
            why = f"{found['raman_file']}: {problem.strerror}"
            whole["notes"] = [f"the Raman activities could not be read: {why}"]
    return whole
