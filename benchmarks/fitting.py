"""Lines from shielding to shift, their errors, and what the errors say by kind of atom.

Errors are of molecules that the line was not fitted to, each molecule left out in turn, unless a line is given. Figures
in `qmrunner/chemistry/fitted.json` and docs/explanation/science.md are from here.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qmrunner.chemistry import graphs, scaling
from qmrunner.chemistry.accuracy import Accuracy, Seen
from qmrunner.chemistry.atom_kinds import kinds

DATA = Path(__file__).with_name("data")
NUCLEI = ("1H", "13C")
LEVELS = ("quick", "draft", "production")
# A molecule with fewer signals has no offset worth the name.
LEAST_FOR_OFFSET = 3
# Slope, and intercept in ppm.
Line = tuple[float, float]


class Point(NamedTuple):
    """One atom; shielding and experimental shift in ppm."""

    molecule: str
    kind: str
    shielding: float
    shift: float

    def error(self, line: Line) -> float:
        """Predicted less measured, ppm."""
        return line[1] + line[0] * self.shielding - self.shift


class Missed(NamedTuple):
    """An error of a molecule left out, and the ± that the others promised for it; both in ppm."""

    point: Point
    error: float
    uncertainty: float


def points(nucleus: str, found: Mapping[str, Any], molecules: Mapping[str, Any]) -> list[Point]:
    """One point for each atom with an experimental shift."""
    result = []
    for key, answer in found.items():
        rows = [row.split() for row in molecules[key]["xyz_angstrom"]]
        mol = graphs.mol_from_points([row[0] for row in rows], [[float(x) for x in row[1:4]] for row in rows], 0)
        kind_of, measured = kinds(mol), molecules[key]["shifts_ppm"][nucleus]
        for row in answer["shifts"]:
            if row["nucleus"] == nucleus and str(row["atom"]) in measured:
                result.append(Point(key, kind_of[row["atom"]], row["shielding_ppm"], measured[str(row["atom"])]))
    return result


def fit(chosen: Sequence[Point]) -> Line:
    """The least-squares line from shielding to shift."""
    slope, intercept = np.polyfit([p.shielding for p in chosen], [p.shift for p in chosen], 1)
    return float(slope), float(intercept)


def left_out(chosen: Sequence[Point], given: Line | None = None) -> list[tuple[Point, float]]:
    """Each atom with its error under the line fitted to all other molecules, or under the line `given`."""
    errors = []
    for key in _molecules(chosen):
        line = given or fit([p for p in chosen if p.molecule != key])
        errors += [(p, p.error(line)) for p in chosen if p.molecule == key]
    return errors


def by_kind(errors: Sequence[tuple[Point, float]]) -> dict[str, Seen]:
    """Molecules and RMS of each kind. Atoms of a kind in one molecule count as one: they err alike."""
    squares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point, error in errors:
        squares[point.kind][point.molecule].append(error**2)
    return {
        kind: Seen(len(rows), float(np.sqrt(np.mean([np.mean(row) for row in rows.values()]))))
        for kind, rows in sorted(squares.items())
    }


def unseen_rms(chosen: Sequence[Point]) -> float:
    """The RMS expected of a kind never seen: over the kinds, each left out of the fit in turn."""
    squares = []
    for kind in sorted({p.kind for p in chosen}):
        rest = [p for p in chosen if p.kind != kind]
        line = fit(rest)
        (seen,) = by_kind([(p, p.error(line)) for p in chosen if p.kind == kind]).values()
        squares.append(seen.rms_ppm**2)
    return float(np.sqrt(np.mean(squares)))


def accuracy(chosen: Sequence[Point], given: tuple[Line, float] | None = None) -> Accuracy:
    """The accuracy of the line fitted to these molecules; or of a line `given` with its RMSD, which is then expected of
    a kind that none of them has."""
    if given is None:
        return Accuracy(unseen_rms(chosen), by_kind(left_out(chosen)))
    line, rmsd = given
    return Accuracy(rmsd, by_kind(left_out(chosen, line)))


def missed(
    chosen: Sequence[Point], part: Callable[[Point], str], given: tuple[Line, float] | None = None
) -> list[Missed]:
    """Errors and promised ± where all of one part (a molecule, or a kind) was kept from line and ± alike."""
    found = []
    for key in dict.fromkeys(map(part, chosen)):
        rest = [p for p in chosen if part(p) != key]
        line, known = given[0] if given else fit(rest), accuracy(rest, given)
        kept = (p for p in chosen if part(p) == key)
        found += [Missed(p, p.error(line), known.uncertainty_ppm(p.kind)) for p in kept]
    return found


def coverage(cases: Sequence[Missed], times: float = 1.0) -> float:
    """The share of errors within so many ±."""
    return float(np.mean([abs(case.error) <= times * case.uncertainty for case in cases]))


def account(chosen: Sequence[Point], given: tuple[Line, float] | None = None) -> dict[str, Any]:
    """One nucleus of `fitted.json`; without the line itself where it is `given`."""
    known = accuracy(chosen, given)
    table: dict[str, Any] = {"molecules": len(_molecules(chosen)), "points": len(chosen)}
    if given is None:
        slope, intercept = fit(chosen)
        mean, root = figures([error for _, error in left_out(chosen)])
        table |= {"slope": round(slope, 6), "intercept_ppm": round(intercept, 4)}
        table |= {"mae_ppm": round(mean, 3), "rmsd_ppm": round(root, 3)}
    rows = {
        kind: {"molecules": seen.molecules, "rms_ppm": round(seen.rms_ppm, 3)} for kind, seen in known.kinds.items()
    }
    return table | {"unseen_rms_ppm": round(known.unseen_rms_ppm, 3), "kinds": rows}


def molecules() -> dict[str, Any]:
    """Names, experimental shifts in ppm and structures of the molecules of DELTA50 that are here."""
    found: dict[str, Any] = json.loads((DATA / "delta50_part.json").read_text(encoding="utf-8"))["molecules"]
    return found


def answers(path: Path | None, level: str) -> dict[str, dict[str, Any]]:
    """The answers of an earlier run at this level; none without a file."""
    if path is None or not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {key: answer for key, answer in found.items() if answer["level"] == level}


def fitted() -> dict[str, Any]:
    """The content of `qmrunner/chemistry/fitted.json`, from the answers in `data/`."""
    known = molecules()
    found = {level: answers(DATA / f"delta50_{level}.json", level) for level in LEVELS}
    return {
        level: {nucleus: account(points(nucleus, rows, known), given(nucleus, level)) for nucleus in NUCLEI}
        for level, rows in found.items()
        if rows
    }


def residuals() -> dict[str, Any]:
    """The content of `qmrunner/chemistry/residuals.json`: for each level whose lines are fitted here, and nucleus, the
    RMSD in ppm of each molecule left out, the largest mean error of one, and Student's t fitted to all these errors,
    each signal counted once."""
    known = molecules()
    found: dict[str, Any] = {}
    for level in scaling.OWN_METHODS:
        rows = answers(DATA / f"delta50_{level}.json", level)
        for nucleus in NUCLEI if rows else ():
            errors = _each_signal(left_out(points(nucleus, rows, known)))
            of = {key: [error for point, error in errors if point.molecule == key] for key in rows}
            table = {key: round(figures(row)[1], 4) for key, row in of.items() if row}
            # Errors of one molecule are alike: their tails are known no better than from one error of each.
            freedom, scale = student([error for _, error in errors], len(table) - 1)
            names = {key: known[key]["name"] for key in table}
            means = [abs(float(np.mean(row))) for row in of.values() if len(row) >= LEAST_FOR_OFFSET]
            found.setdefault(level, {})[nucleus] = {
                "signals": len(errors),
                "freedom": freedom,
                "scale_ppm": round(scale, 4),
                "largest_mean_ppm": round(max(means), 4),
                "molecules": [
                    {"name": names[key], "rmsd_ppm": table[key], "signals": len(of[key])}
                    for key in sorted(table, key=lambda key: (table[key], key))
                ],
            }
    return found


def _each_signal(errors: Sequence[tuple[Point, float]]) -> list[tuple[Point, float]]:
    """The errors without repetitions: atoms of a molecule with the same shielding and shift are one signal."""
    return list({(p.molecule, p.shielding, p.shift): (p, error) for p, error in errors}.values())


def student(errors: Sequence[float], most: int) -> tuple[int, float]:
    """Degrees of freedom, 3 to `most`, and scale of the Student's t around zero that fits best (maximum likelihood)."""
    squares = np.asarray(errors) ** 2
    fits = []
    for freedom in range(3, most + 1):
        variance = float(squares.mean())
        for _ in range(200):  # expectation maximisation
            variance = float(((freedom + 1) / (freedom + squares / variance) * squares).mean())
        tails = -(freedom + 1) / 2 * np.log1p(squares / (freedom * variance)).sum()
        norm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi * freedom * variance) / 2
        fits.append((float(tails) + len(squares) * norm, freedom, math.sqrt(variance)))
    _, freedom, scale = max(fits)
    return freedom, scale


def given(nucleus: str, level: str) -> tuple[Line, float] | None:
    """The published line of production with its RMSD in ppm; None where the line is fitted here."""
    if level in scaling.OWN_METHODS:
        return None
    line = scaling.line_for(nucleus, "chloroform", level)
    return (line.slope, line.intercept_ppm), line.rmsd_ppm


def figures(errors: Sequence[float]) -> tuple[float, float]:
    """Mean absolute and root mean square error."""
    table = np.asarray(errors)
    return float(np.abs(table).mean()), float(np.sqrt((table**2).mean()))


def _molecules(chosen: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(p.molecule for p in chosen))
