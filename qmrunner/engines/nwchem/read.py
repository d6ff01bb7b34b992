"""Reads an NWChem output: one small reader per quantity, all in one pass over the log.

Every reader keeps only what it needs. A value that is not in the log is None or missing, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from qmrunner import untrusted
from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.input.remarks import Remarks
from qmrunner.engines.nwchem.output.errquit import AbortReader
from qmrunner.engines.nwchem.output.frozen import Orbitals
from qmrunner.engines.nwchem.output.magnetic import Shieldings
from qmrunner.engines.nwchem.output.tasks import TaskReader

_STEP = re.compile(r"^@\s+(\d+)\s+-?\d+\.\d+")
_HEADER = re.compile(r"^\s+(nwchem branch|nwchem revision|ga revision|nproc|source|compiled|data base)\s+=\s+(\S.*)$")


class Reader(Protocol):
    """Takes one line (without its line end) and its number, counted from 1."""

    def feed(self, line: str, number: int) -> None: ...


class Optimisation:
    """Reads the optimiser's lines: number of steps, and whether the last optimisation converged."""

    def __init__(self) -> None:
        self.steps: int | None = None
        self.started = self.converged = False

    def feed(self, line: str, number: int) -> None:
        if line.startswith("@") and (match := _STEP.match(line)):
            self.steps = int(match[1])
        elif "NWChem Geometry Optimization" in line:
            self.started, self.converged = True, False
        elif "Optimization converged" in line:
            self.converged = True


class Header:
    """NWChem's job information."""

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
            "ranks": int(nproc) if nproc.isascii() and nproc.isdigit() else None,
            "mpi": next((name for name in ("openmpi", "mpich", "intel") if name in source.lower()), None),
        }
        return {name: value for name, value in known.items() if value not in (None, "N/A")}

    @property
    def database(self) -> str | None:
        """The file name of the run-time database."""
        return Path(self.facts["data base"]).name if "data base" in self.facts else None


class Marks:
    """The end marks of a complete run; no print level suppresses them."""

    def __init__(self) -> None:
        self.citation = self.total_times = False

    def feed(self, line: str, number: int) -> None:
        if "CITATION" in line:
            self.citation = True
        elif "Total times  cpu:" in line:
            self.total_times = True

    @property
    def ended(self) -> bool:
        return self.citation and self.total_times


class Report:
    """All results of one pass over a log; `asked` are the tasks of the deck, as far as known; `more` are additional
    readers. The lines `titles` are left out: a user's title may read like any of NWChem's lines."""

    def __init__(
        self, log: Path, asked: Sequence[Asked] = (), *more: Reader, titles: Collection[str] = frozenset()
    ) -> None:
        self.optimisation, self.shieldings = Optimisation(), Shieldings()
        self.tasks, self.header, self.marks = TaskReader(asked, log.name), Header(), Marks()
        self.abort = AbortReader(log.name)
        self.remarks, self.orbitals = Remarks(), Orbitals()
        _read(
            log,
            (
                self.tasks,
                self.optimisation,
                self.shieldings,
                self.header,
                self.marks,
                self.abort,
                self.remarks,
                self.orbitals,
                *more,
            ),
            titles,
        )


def _read(log: Path, readers: tuple[Reader, ...], titles: Collection[str]) -> None:
    with suppress(FileNotFoundError):
        for number, line in enumerate(untrusted.lines(log), 1):
            if titles and line.rstrip() in titles:
                continue
            for reader in readers:
                reader.feed(line, number)
