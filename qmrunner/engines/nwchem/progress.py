"""The progress of a running NWChem, read from its output line by line."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from qmrunner.engines.nwchem import progress_shares
from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.output.tasks import TaskReader
from qmrunner.model.jobs import Progress

_STEP = re.compile(r"^@\s+(\d+)\s+(-?\d+\.\d+)\s+\S+\s+(\d+\.\d+)(?:\s+\d+\.\d+){2}\s+(\d+\.\d+)")
_DFT = re.compile(r"d=\s*\d+,ls=\S+?,(?:diis)?\s*(\d+)\s+(-?\d+\.\d+)\s+\S+\s+(\d\.\d+D[+-]\d+)")
_SCF = re.compile(r"^\s+(\d+)\s+(-\d+\.\d{6,})\s+(\d\.\d+D[+-]\d+)\s+\d\.\d+D[+-]\d+\s+\d+\.\d+\s*$")
_RESPONSE = re.compile(r"^\s+(\d+)\s+\d+\s+(\d\.\d+D[+-]\d+)\s+\d+\.\d+\s*$")
_ATOM = re.compile(r"^\s+Atom:\s+(\d+)\s+([A-Z]\w*)")
_PHASES = (
    ("NWChem Geometry Optimization", "optimisation"),
    ("Superposition of Atomic Density Guess", "initial guess"),
    ("NWChem SCF Module", "scf"),
    ("NWChem DFT Module", "scf"),
    ("NWChem DFT Gradient Module", "gradient"),
    ("NWChem Gradients Module", "gradient"),
    ("NWChem Property Module", "property"),
    ("NWChem CPHF Module", "response"),
    ("Wrote CPHF data", "shielding integrals"),
    ("NWChem Nuclear Hessian", "hessian"),
    ("NWChem MP2", "mp2"),
    ("Optimization converged", "optimised"),
    ("CITATION", "done"),
)


class NWChemReader:
    """Remembers the optimisation step, so that an SCF line inside a step does not hide it.

    `known_work`: whether the run is a single task of qmrunner's own deck, the only kind that can be forecast. `asked`
    are the deck's tasks, as far as known: energies are those of their theory and state. The lines `titles` are no
    progress.
    """

    def __init__(
        self, known_work: bool = True, asked: Sequence[Asked] = (), titles: Collection[str] = frozenset()
    ) -> None:
        self._titles = titles
        self._step: int | None = None
        self._phase: str | None = None
        self._work = progress_shares.Work() if known_work else None
        self._tasks = TaskReader(asked, "")
        self._number = 0
        self._energy: float | None = None

    def feed(self, line: str) -> Progress | None:
        """The progress in this line; energies in hartree, gradients in hartree/bohr."""
        self._number += 1
        if self._titles and line.rstrip() in self._titles:
            return None
        self._tasks.feed(line.rstrip("\r\n"), self._number)
        progress = self._told(line) or self._computed()
        if self._work is None:
            return progress
        self._work.learn(line)
        if progress is None or progress.done is not None:
            return progress
        return replace(progress, done=self._work.done(progress))

    def _told(self, line: str) -> Progress | None:
        if line.startswith("@"):
            return self._optimisation(line)
        if "d=" in line and (match := _DFT.search(line)):
            return self._scf(match)
        if "D-" in line or "D+" in line:
            return self._numbers(line)
        if match := _ATOM.match(line):
            self._phase = "shielding"
            return Progress(phase="shielding", iteration=int(match[1]), text=f"shielding of atom {match[1]} {match[2]}")
        phase = next((phase for mark, phase in _PHASES if mark in line), None)
        if phase is None:
            return None
        self._phase = phase
        return Progress(phase=phase, text=phase, saves=phase == "shielding integrals")

    def _computed(self) -> Progress | None:
        """The energy that the task has just computed."""
        found = self._tasks.energy.found
        if found is None or found.hartree == self._energy:
            return None
        self._energy = found.hartree
        return Progress(energy_hartree=found.hartree, text=f"{found.of}: {found.hartree:.6f} hartree")

    def _optimisation(self, line: str) -> Progress | None:
        match = _STEP.match(line)
        if match is None:
            return None
        self._step, energy, gmax = int(match[1]), float(match[2]), float(match[3])
        found = self._tasks.energy.found
        self._energy = energy if found is None else found.hartree
        self._phase = "optimisation"
        text = f"step {self._step}: {energy:.6f} hartree, gmax {gmax:.5f}"
        return Progress(
            phase="optimisation",
            iteration=self._step,
            energy_hartree=energy,
            gradient=gmax,
            text=text,
            done=None if self._work is None else self._work.step(self._step, gmax, float(match[4])),
            saves=True,
        )

    def _numbers(self, line: str) -> Progress | None:
        if self._phase == "response" and (match := _RESPONSE.match(line)):
            residual = _number(match[2])
            text = f"response iteration {match[1]}, residual {residual:.1e}"
            return Progress(phase="response", iteration=int(match[1]), residual=residual, text=text)
        match = _SCF.match(line)
        return self._scf(match) if match and self._phase != "response" else None

    def _scf(self, match: re.Match[str]) -> Progress:
        iteration, energy, residual = int(match[1]), float(match[2]), _number(match[3])
        self._phase = "scf"
        step = "" if self._step is None else f"after step {self._step}: "
        text = f"{step}SCF iteration {iteration}, {energy:.6f} hartree, residual {residual:.1e}"
        counts = energy if self._tasks.energy.iterates else None
        return Progress(phase="scf", iteration=iteration, energy_hartree=counts, residual=residual, text=text)


def _number(fortran: str) -> float:
    return float(fortran.replace("D", "E"))
