"""Progress of a running xTB, from its log."""

from __future__ import annotations

import re

from qmrunner.model.jobs import Progress

_CYCLE = re.compile(r"^\.+ CYCLE +(\d+) \.+$")
_ENERGY = re.compile(r"^ \* total energy  : +(-?\d+\.\d+) Eh")
_GRADIENT = re.compile(r"^   gradient norm : +(\d+\.\d+) Eh")
_MD_TIME = re.compile(r"^ MD time /ps +: +(\d+\.\d+)")
_MD_STEP = re.compile(r"^ {1,9}\d+ +(\d+\.\d+) +-?\d+\.\d+ +-?\d+\.\d+ +\d+\. +\d+\. +-?\d+\.\d+")
_PHASES = {
    "|        G F N": "single point",
    "|                 G F N": "single point",
    "A N C O P T": "optimisation",
    "|                Numerical Hessian": "hessian",
    "|               Molecular Dynamics": "dynamics",
    "|                Final Singlepoint": "final single point",
    "|                Property Printout": "properties",
}


class XtbReader:
    """Follows phases, optimisation cycles (energy in Hartree, gradient norm in Hartree/bohr) and dynamics time."""

    def __init__(self) -> None:
        self._phase: str | None = None
        self._cycle: int | None = None
        self._energy: float | None = None
        self._md_ps: float | None = None

    def feed(self, line: str) -> Progress | None:
        """See ProgressReader. An optimisation cycle is reported once its gradient is known."""
        if hit := _CYCLE.match(line):
            self._phase, self._cycle = "optimisation", int(hit[1])
            return None
        if hit := _ENERGY.match(line):
            self._energy = float(hit[1])
            return None
        if hit := _GRADIENT.match(line):
            return Progress(self._phase, self._cycle, self._energy, float(hit[1]), text=self._words(hit[1]))
        if hit := _MD_TIME.match(line):
            self._md_ps = float(hit[1])
            return None
        if self._md_ps and (hit := _MD_STEP.match(line)):
            done_ps = float(hit[1])
            share = min(done_ps / self._md_ps, 1.0)
            return Progress("dynamics", fraction=share, text=f"{done_ps:g} of {self._md_ps:g} ps", done=share)
        return self._new_phase(line)

    def _words(self, gradient: str) -> str:
        energy = "" if self._energy is None else f"{self._energy:.6f} hartree, "
        return f"{'' if self._cycle is None else f'cycle {self._cycle}: '}{energy}gradient norm {float(gradient):.5f}"

    def _new_phase(self, line: str) -> Progress | None:
        if "|" not in line:
            return None
        for mark, phase in _PHASES.items():
            if mark in line and phase != self._phase:
                self._phase = phase
                return Progress(phase, self._cycle, self._energy)
        return None
