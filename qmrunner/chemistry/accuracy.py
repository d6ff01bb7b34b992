"""The uncertainty of a shift by kind of atom, from the residuals of the fit for that kind alone.

The residuals of a kind are assumed to be normal around zero, with a separate variance for each kind. That variance has
a prior (scaled inverse chi-square) with the weight of one molecule, and with the mean square expected of a kind that
the fit does not contain. The ± is the half-width that holds 68.27 % of the posterior predictive distribution, a Student
t: wide for a kind with few molecules, close to the RMS for a kind with many. Reasons: docs/explanation/science.md.
Figures: `fitted.json`, made by benchmarks/delta50.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from qmrunner.chemistry import scaling

# The normal distribution within one standard deviation.
COVERED = math.erf(1 / math.sqrt(2))
RULE = (
    "± by kind of atom: half-width that holds 68 % of the predicted errors, from residuals with each molecule left out "
    "of the fit; wider the fewer molecules have such an atom"
)
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A kind of atom in a fit: the number of molecules that have it, and the RMS of their residuals in ppm, each
    molecule counted once."""

    molecules: int
    rms_ppm: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of one line. `unseen_rms_ppm` is the RMS expected of a kind that no molecule has."""

    unseen_rms_ppm: float
    kinds: Mapping[str, Seen]

    def uncertainty_ppm(self, kind: str | None) -> float:
        """The ± of a shift in ppm; None for `kind` means unknown, and is treated as a kind that the fit does not
        contain."""
        seen = self.kinds.get(kind or "", Seen(0, 0.0))
        count = seen.molecules + 1
        square = (self.unseen_rms_ppm**2 + seen.molecules * seen.rms_ppm**2) / count
        return round(half_width(count) * math.sqrt(square), _DIGITS)


@cache
def accuracy_of(nucleus: str, solvent: str, level: str) -> Accuracy:
    """The accuracy of the line of `scaling.line_for`; raises the errors of that function.

    For a solvent other than chloroform all figures are multiplied by the ratio of the lines' RMSDs.
    """
    line, reference = (scaling.line_for(nucleus, medium, level) for medium in (solvent, "chloroform"))
    data = scaling.fitted()[level][nucleus]
    ratio = line.rmsd_ppm / reference.rmsd_ppm
    kinds = {kind: Seen(row["molecules"], row["rms_ppm"] * ratio) for kind, row in data["kinds"].items()}
    return Accuracy(data["unseen_rms_ppm"] * ratio, kinds)


@cache
def half_width(freedom: int) -> float:
    """The t for which Student's t with these degrees of freedom lies within ±t with the probability `COVERED`."""
    low, high = 0.5, 2.0  # 1.84 with one degree of freedom, 1 with infinitely many
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < COVERED else (low, middle)
    return (low + high) / 2


def within(t: float, freedom: int) -> float:
    """The probability that Student's t lies within ±t. Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for power in range(2 + odd, freedom - 1, 2):
        term *= (power - 1) / power * math.cos(angle) ** 2
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
