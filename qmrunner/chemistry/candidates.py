"""Which of several candidate structures fits measured peaks best, as a probability with a control.

As DP4 (Smith and Goodman, J. Am. Chem. Soc. 2010, 132, 12946), with two differences. The errors are those of this
program: Student's t, fitted to benchmark molecules that were left out of the fit (`residuals.json`). And the peaks need
no assignment, and what the user assigned is not used, for candidates number their atoms differently: each peak
counts once, with the mean log density of its signals; a peak without a signal, or with one that exchanges, has the
density of a peak anywhere.

Errors of atoms of one molecule are taken as independent, which they are not: probabilities are too sure of themselves.
The control shows how much the fit depends on which shifts belong to which candidate: decoys are given shifts drawn
from all candidates, and are matched to the peaks in the same way.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qmrunner.chemistry.comparison import counts_of, residuals, signals_of
from qmrunner.chemistry.matching import Signal, match
from qmrunner.chemistry.peaks import PeakList, Read

LEAST, MOST = 2, 8
DECOYS = 200
_LEAST_DECOYS, _CELLS = 20, 600_000
_SEED = 50
# Where peaks lie, ppm: the density of a peak anywhere is one over this.
_RANGE_PPM = {"1H": 12.0, "13C": 220.0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One structure: its name, its shift rows, and the level and solvent of its job; `molecule` is equal for equal
    molecules, `formula` for isomers."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    level: str
    solvent: str
    molecule: str | None = None
    formula: str | None = None


@dataclass(frozen=True, slots=True)
class _Errors:
    """Student's t around zero; `anywhere` is the log density of a peak without a signal."""

    freedom: int
    scale_ppm: float
    anywhere: float

    def log_density(self, error_ppm: float) -> float:
        n = self.freedom
        norm = math.lgamma((n + 1) / 2) - math.lgamma(n / 2) - math.log(math.pi * n) / 2 - math.log(self.scale_ppm)
        return norm - (n + 1) / 2 * math.log1p((error_ppm / self.scale_ppm) ** 2 / n)


def refused(candidates: Sequence[Candidate]) -> str | None:
    """Why no probability is given for these candidates, in words; None where one can be."""
    if len(candidates) < LEAST:
        return "a probability needs at least two candidates: one structure can always be the best of one"
    levels = {candidate.level for candidate in candidates}
    if len(levels) > 1:
        return f"the candidates were computed at different levels ({', '.join(sorted(levels))})"
    (level,) = levels
    if level not in residuals():
        return f"the errors of level {level} are not known well enough: use {' or '.join(residuals())}"
    molecules = [candidate.molecule for candidate in candidates if candidate.molecule]
    if len(set(molecules)) < len(molecules):
        return "two of the candidates are the same molecule"
    formulas = {candidate.formula for candidate in candidates if candidate.formula}
    if len(formulas) > 1:
        return f"the candidates are not isomers ({', '.join(sorted(formulas))}): a mass spectrum decides first"
    if len({candidate.solvent for candidate in candidates}) > 1:
        return "the candidates were computed in different solvents"
    return None


def weigh(candidates: Sequence[Candidate], measured: Read) -> dict[str, Any]:
    """Probability of each candidate, equal before the measurement: `candidates` with `probability` (None where
    `reason` states why there is none), `log_likelihood`, and how many of `decoys` fit as well or better; `nuclei` used;
    `sentences`."""
    reason = refused(candidates)
    lists = [found for found in measured.lists if found.peaks]
    if reason is None and not lists:
        reason = "there are no measured peaks"
    empty = {"probability": None, "log_likelihood": None, "as_good": None}
    answer: dict[str, Any] = {"reason": reason, "nuclei": [], "decoys": 0, "sentences": []}
    if reason is not None:
        return {**answer, "candidates": [{"name": candidate.name, **empty} for candidate in candidates]}
    parts = [_Part(candidates, found) for found in lists]
    own = [math.fsum(part.fit(part.signals[i]) for part in parts) for i in range(len(candidates))]
    best = max(own)
    shares = [math.exp(value - best) for value in own]
    # Peaks cost time, too, where there are few signals.
    cells = sum(len(part.measured.peaks) * (len(each) + 10) for part in parts for each in part.signals)
    decoys = max(_LEAST_DECOYS, min(DECOYS, _CELLS // max(cells, 1)))
    chance = random.Random(_SEED)
    as_good = [
        sum(math.fsum(part.fit(part.decoy(i, chance)) for part in parts) >= own[i] - 1e-9 for _ in range(decoys))
        for i in range(len(candidates))
    ]
    rows = [
        {
            "name": candidate.name,
            "probability": round(share / math.fsum(shares), 6),
            "log_likelihood": round(value, 4),
            "as_good": count,
        }
        for candidate, share, value, count in zip(candidates, shares, own, as_good, strict=True)
    ]
    nuclei = [part.measured.nucleus for part in parts]
    return {**answer, "nuclei": nuclei, "decoys": decoys, "candidates": rows, "sentences": _sentences(rows, decoys)}


class _Part:
    """The peaks of one nucleus, and the signals of every candidate."""

    def __init__(self, candidates: Sequence[Candidate], measured: PeakList) -> None:
        self.measured = measured
        data = residuals()[candidates[0].level][measured.nucleus]
        anywhere = -math.log(_RANGE_PPM[measured.nucleus])
        self.errors = _Errors(data["freedom"], data["scale_ppm"], anywhere)
        self.signals = [signals_of(candidate.rows, measured.nucleus) for candidate in candidates]
        self._counts = counts_of(measured)
        self._pool = [signal.ppm for each in self.signals for signal in each if not signal.exchanges]

    def fit(self, signals: Sequence[Signal]) -> float:
        """The log density of all peaks, if the candidate had these signals."""
        peaks = [peak.ppm for peak in self.measured.peaks]
        on: dict[int, list[float]] = {}
        places = match(signals, peaks, None, self._counts)
        for signal, place in zip(signals, places, strict=True):
            if place is not None and not signal.exchanges:
                on.setdefault(place, []).append(self.errors.log_density(signal.ppm - peaks[place]))
        means = [math.fsum(found) / len(found) for found in on.values()]
        return math.fsum(means) + (len(peaks) - len(means)) * self.errors.anywhere

    def decoy(self, which: int, chance: random.Random) -> list[Signal]:
        """The signals of a candidate with shifts drawn from all candidates."""
        firm = sum(not signal.exchanges for signal in self.signals[which])
        drawn = iter(chance.sample(self._pool, firm))
        return [signal if signal.exchanges else replace(signal, ppm=next(drawn)) for signal in self.signals[which]]


def _sentences(rows: Sequence[Mapping[str, Any]], decoys: int) -> list[str]:
    best = max(rows, key=lambda row: row["probability"])
    found = [
        f"{best['name']} fits best, with {best['probability']:.1%} among these {len(rows)} candidates only; if none of "
        "them is right, this means nothing",
        f"control: {best['as_good']} of {decoys} decoys with shifts drawn from all candidates fit as well",
    ]
    if best["as_good"] > decoys // 20:
        found.append(
            "decoys often fit as well: too few signals, or candidates too alike, to prove one by its fit alone"
        )
    return found
