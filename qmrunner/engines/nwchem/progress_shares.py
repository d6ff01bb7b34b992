"""The completed share of an NWChem run, from its output lines. For forecasts only, never for decisions.

Constants are from recorded runs (docs/decisions, 45): an optimisation step divides the remaining gradient and
displacement by about 2.5; a whole shielding run takes as long as 28 iterations of its SCF, its response begins at 53 %
and ends at 95 %.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from qmrunner.model.jobs import Progress

_THRESHOLD = re.compile(r"^ maximum .* threshold +\((gmax|xmax)\) = +(\d+\.\d+)")
_USUAL_FACTOR, _FACTORS, _USUAL_WEIGHT = 2.5, (1.3, 6.0), 2.0
_STEPS_AFTER = 1.0  # values just within the thresholds need one more step
_SCF_ITERATIONS, _SCF_LIMIT = 28, 0.4
_RESPONSE_START, _RESPONSE_END = 0.53, 0.95
_RESPONSE_RESIDUAL = 1e-4  # NWChem's default threshold
_LEAST_THRESHOLD, _LEAST_RESIDUAL = 5e-7, 1e-15


@dataclass
class Work:
    """Follows one run. Thresholds of a converged geometry: largest gradient, hartree/bohr, and displacement, bohr."""

    thresholds: dict[str, float] = field(default_factory=lambda: {"gmax": 4.5e-4, "xmax": 1.8e-3})
    lacking: list[float] = field(default_factory=list)
    shielding: bool = False
    first_residual: float | None = None

    def learn(self, line: str) -> None:
        """Read the thresholds of this run."""
        if "threshold" in line and (found := _THRESHOLD.match(line)):
            # NWChem prints six decimals: 0.000000 for a threshold below them.
            self.thresholds[found[1]] = float(found[2]) or _LEAST_THRESHOLD

    def step(self, number: int, gmax: float, xmax: float) -> float:
        """The share done after an optimisation step: the completed steps among all expected ones."""
        values = {"gmax": gmax, "xmax": xmax}
        worst = max(math.log(max(value, 1e-12) / self.thresholds[name]) for name, value in values.items())
        del self.lacking[number:]  # the last step is printed twice; another optimisation begins at 0
        self.lacking.append(max(0.0, worst))
        steps = len(self.lacking) - 1
        seen = (self.lacking[0] - self.lacking[-1]) / steps if steps else 0.0
        seen = min(max(seen, math.log(_FACTORS[0])), math.log(_FACTORS[1]))
        rate = (steps * seen + _USUAL_WEIGHT * math.log(_USUAL_FACTOR)) / (steps + _USUAL_WEIGHT)
        return (steps + 1) / (steps + 1 + self.lacking[-1] / rate + _STEPS_AFTER)

    def done(self, progress: Progress) -> float | None:
        """The share done after any other line; None while the run is of an unknown kind."""
        if progress.phase == "property":
            self.shielding = True
        if progress.phase == "done":
            return 1.0
        if not self.shielding:
            return None
        if progress.residual is None:
            self.first_residual = None
            return {"response": _RESPONSE_START, "shielding integrals": _RESPONSE_END}.get(progress.phase or "")
        if progress.phase == "scf":
            return min((progress.iteration or 0) / _SCF_ITERATIONS, _SCF_LIMIT)
        return self._response(progress.iteration or 1, progress.residual)

    def _response(self, iteration: int, residual: float) -> float:
        """The number of iterations left, if each divides the residual as the previous ones did, or by ten."""
        self.first_residual = self.first_residual or max(residual, _LEAST_RESIDUAL)
        residual = max(residual, _LEAST_RESIDUAL)  # NWChem also prints 0.00D+00
        fell = math.log(self.first_residual / residual) / (iteration - 1) if iteration > 1 else 0.0
        left = math.log(max(residual, _RESPONSE_RESIDUAL) / _RESPONSE_RESIDUAL)
        iterations_left = math.ceil(left / max(fell, math.log(10.0)))
        share = iteration / (iteration + iterations_left)
        return _RESPONSE_START + (_RESPONSE_END - _RESPONSE_START) * share
