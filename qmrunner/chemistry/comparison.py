"""Compares the computed shifts of one nucleus with measured peaks: assignment, differences, statistics, sentences.

Pure functions over the shift rows of a result (`report.evaluate`); numpy is not loaded. A difference is computed less
measured, in ppm; each signal counts once, however many atoms it has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from qmrunner.chemistry.matching import Signal, match
from qmrunner.chemistry.peaks import Peak, PeakList
from qmrunner.chemistry.spectrum_signals import atom_label, signals

NUCLEI = ("1H", "13C")
DIGITS = {"1H": 2, "13C": 1}
# A mean difference up to this is no news where no residuals say more, ppm.
_OFFSET_PPM = {"1H": 0.3, "13C": 4.0}
_LEAST_FOR_OFFSET = 3
_LEAST_FOR_LINE = 4
# A straight line must explain this share of the squared differences to be mentioned.
_EXPLAINED = 0.5


@cache
def residuals() -> dict[str, Any]:
    """By level and nucleus: errors of the benchmark molecules, each left out of the fit of the line in turn (made by
    benchmarks/delta50.py --fit). Levels whose line was not fitted here are missing."""
    text = resources.files(__package__).joinpath("residuals.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def compare(rows: Sequence[Mapping[str, Any]], measured: PeakList, level: str | None) -> dict[str, Any]:
    """The comparison as JSON: `signals` with `measured_ppm` and `difference_ppm` (None where no peak is assigned),
    `unassigned` peaks, `aside` (lines of the solvent), `statistics`, `sentences`, `rank` among the benchmark molecules
    of this level, `problems`."""
    chosen = [row for row in rows if row["nucleus"] == measured.nucleus]
    row_of = {int(row["atom"]): row for row in chosen}
    found = signals_of(rows, measured.nucleus)
    fixed, problems = fixed_peaks(found, measured)
    places = match(found, [peak.ppm for peak in measured.peaks], fixed, counts_of(measured))
    table = [
        _row(signal, row_of[signal.atoms[0]], measured.peaks, place, places, i in fixed)
        for i, (signal, place) in enumerate(zip(found, places, strict=True))
    ]
    firm = _statistics(table, exchangeable=False)
    used = {place for place in places if place is not None}
    rank = _rank(firm, measured.nucleus, level)
    return {
        "nucleus": measured.nucleus,
        "solvent": measured.solvent,
        "signals": table,
        "unassigned": [_peak(peak) for j, peak in enumerate(measured.peaks) if j not in used],
        "aside": [{**_peak(peak), "line_of": name} for peak, name in measured.aside],
        "statistics": {"all": _statistics(table, exchangeable=True), "without_exchangeable": firm},
        "rank": rank,
        "sentences": _sentences(table, measured, firm, rank, level),
        "problems": problems,
    }


def signals_of(rows: Sequence[Mapping[str, Any]], nucleus: str) -> list[Signal]:
    """The computed signals of one nucleus, from high shift to low."""
    chosen = [row for row in rows if row["nucleus"] == nucleus]
    row_of = {int(row["atom"]): row for row in chosen}
    return [Signal(shift, atoms, exchanges(row_of[atoms[0]])) for shift, atoms in signals(chosen)]


def exchanges(row: Mapping[str, Any]) -> bool:
    """Whether the row is of a hydrogen on N, O or S: these alone have no ± among the hydrogens."""
    return bool(row["nucleus"] == "1H" and row.get("uncertainty_ppm") is None)


def _peak(peak: Peak) -> dict[str, Any]:
    return {"ppm": peak.ppm, "count": peak.count, "text": peak.text}


def fixed_peaks(found: Sequence[Signal], measured: PeakList) -> tuple[dict[int, int], list[str]]:
    """Index of the peak of each signal, by its index, that the user has assigned; and problems in words."""
    signal_of = {atom: i for i, signal in enumerate(found) for atom in signal.atoms}
    fixed: dict[int, int] = {}
    problems: list[str] = []
    for j, peak in enumerate(measured.peaks):
        for atom in peak.atoms:
            i = signal_of.get(atom)
            if i is None:
                problems.append(f"{peak.text!r}: atom {atom} has no {measured.nucleus} signal")
            elif fixed.setdefault(i, j) != j:
                other = measured.peaks[fixed[i]].text
                problems.append(f"{peak.text!r}: the signal of atom {atom} already has the peak {other!r}")
    return fixed, problems


def counts_of(measured: PeakList) -> list[int | None]:
    """The counts of the peaks. In carbon lists with some counts a peak without one is of one atom, as in papers."""
    counts = [peak.count for peak in measured.peaks]
    if measured.nucleus == "13C" and any(counts):
        return [count or 1 for count in counts]
    return counts


def _row(
    signal: Signal,
    row: Mapping[str, Any],
    peaks: Sequence[Peak],
    place: int | None,
    places: Sequence[int | None],
    fixed: bool,
) -> dict[str, Any]:
    peak = None if place is None else peaks[place]
    difference = None if peak is None else round(signal.ppm - peak.ppm, 4)
    error = row.get("uncertainty_ppm")
    return {
        "atoms": list(signal.atoms),
        "label": atom_label(signal.atoms, str(row["symbol"])),
        "kind": row.get("kind"),
        "exchangeable": signal.exchanges,
        "shift_ppm": signal.ppm,
        "uncertainty_ppm": error,
        "measured_ppm": None if peak is None else peak.ppm,
        "difference_ppm": difference,
        "beyond": None if difference is None or not error else round(abs(difference) / error, 2),
        "fixed": fixed,
        "shared": place is not None and places.count(place) > 1,
    }


def _statistics(table: Sequence[Mapping[str, Any]], *, exchangeable: bool) -> dict[str, Any] | None:
    """Mean absolute, root mean square and largest difference, and the mean, in ppm; None without an assigned signal."""
    used = [row for row in table if row["difference_ppm"] is not None and (exchangeable or not row["exchangeable"])]
    if not used:
        return None
    errors = [float(row["difference_ppm"]) for row in used]
    worst = max(used, key=lambda row: abs(row["difference_ppm"]))
    slope, intercept = _line([(row["shift_ppm"], row["measured_ppm"]) for row in used])
    return {
        "signals": len(used),
        "mae_ppm": round(math.fsum(map(abs, errors)) / len(errors), 4),
        "rmsd_ppm": round(_rms(errors), 4),
        "largest_ppm": worst["difference_ppm"],
        "largest_at": worst["label"],
        "mean_ppm": round(math.fsum(errors) / len(errors), 4),
        "slope": None if slope is None else round(slope, 5),
        "intercept_ppm": None if intercept is None else round(intercept, 4),
    }


def _rms(errors: Sequence[float]) -> float:
    return math.sqrt(math.fsum(error * error for error in errors) / len(errors))


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    """Slope and intercept of measured over computed shifts; None with too few signals, or all at one place."""
    if len(pairs) < _LEAST_FOR_LINE:
        return None, None
    mean = math.fsum(x for x, _ in pairs) / len(pairs)
    spread = math.fsum((x - mean) ** 2 for x, _ in pairs)
    if spread < 1e-6:
        return None, None
    middle = math.fsum(y for _, y in pairs) / len(pairs)
    slope = math.fsum((x - mean) * (y - middle) for x, y in pairs) / spread
    return slope, middle - slope * mean


def _rank(firm: Mapping[str, Any] | None, nucleus: str, level: str | None) -> dict[str, Any] | None:
    data = residuals().get(level or "", {}).get(nucleus)
    if firm is None or data is None:
        return None
    better = sum(row["rmsd_ppm"] <= firm["rmsd_ppm"] for row in data["molecules"])
    return {
        "better": better,
        "molecules": len(data["molecules"]),
        "median_rmsd_ppm": _median([row["rmsd_ppm"] for row in data["molecules"]]),
        "largest_rmsd_ppm": max(row["rmsd_ppm"] for row in data["molecules"]),
    }


def _median(values: Sequence[float]) -> float:
    ranked, half = sorted(values), len(values) // 2
    return ranked[half] if len(ranked) % 2 else round((ranked[half - 1] + ranked[half]) / 2, 4)


def _sentences(
    table: Sequence[Mapping[str, Any]],
    measured: PeakList,
    firm: Mapping[str, Any] | None,
    rank: Mapping[str, Any] | None,
    level: str | None,
) -> list[str]:
    """What the figures mean, each in one sentence."""
    nucleus, digits = measured.nucleus, DIGITS[measured.nucleus]
    found = []
    if firm is not None:
        known = residuals().get(level or "", {}).get(nucleus, {})
        found += _systematic(table, firm, nucleus, known.get("largest_mean_ppm", _OFFSET_PPM[nucleus]))
    if rank is not None and firm is not None:
        share = "all" if rank["better"] == rank["molecules"] else f"{rank['better']}"
        found.append(
            f"RMSD {firm['rmsd_ppm']:.{digits + 1}f} ppm: {share} of the {rank['molecules']} benchmark molecules of "
            f"level {level}, each left out of the fit, have a smaller or the same one "
            f"(median {rank['median_rmsd_ppm']:.{digits + 1}f}, largest {rank['largest_rmsd_ppm']:.{digits + 1}f} ppm)"
        )
        if rank["better"] == rank["molecules"] and firm["rmsd_ppm"] > rank["largest_rmsd_ppm"]:
            found.append("no benchmark molecule is that far off: check the structure, the peaks and their reference")
    missing = [row["label"] for row in table if row["measured_ppm"] is None and not row["exchangeable"]]
    if missing:
        found.append(f"no peak for {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}")
    shared = sum(row["shared"] for row in table)
    if shared:
        found.append(f"{shared} signals share peaks: there are fewer peaks than signals")
    far = [row["label"] for row in table if row["beyond"] is not None and row["beyond"] > 2]
    if far:
        found.append(f"more than twice the ± away: {', '.join(far[:8])}{' …' if len(far) > 8 else ''}")
    return found


def _systematic(
    table: Sequence[Mapping[str, Any]], firm: Mapping[str, Any], nucleus: str, usual_ppm: float
) -> list[str]:
    """A sentence on a common offset, or else on a slope, that explains most of the differences and is larger than the
    largest mean error of a benchmark molecule."""
    used = [row for row in table if row["difference_ppm"] is not None and not row["exchangeable"]]
    total = math.fsum(row["difference_ppm"] ** 2 for row in used)
    mean, digits = firm["mean_ppm"], DIGITS[nucleus]
    if len(used) < _LEAST_FOR_OFFSET or firm["rmsd_ppm"] <= usual_ppm:
        return []
    if len(used) * mean**2 > _EXPLAINED * total and abs(mean) > usual_ppm:
        way = "low" if mean > 0 else "high"
        return [
            f"all measured shifts are {abs(mean):.{digits}f} ppm {way} on average, more than usual: another reference? "
            "Or these atoms share an error of the method"
        ]
    if firm["slope"] is not None and len(used) > _LEAST_FOR_LINE:
        left = [row["measured_ppm"] - firm["slope"] * row["shift_ppm"] - firm["intercept_ppm"] for row in used]
        if math.fsum(value**2 for value in left) < (1 - _EXPLAINED) * total:
            return [
                f"measured = {firm['intercept_ppm']:.{digits}f} + {firm['slope']:.3f} × computed explains most of the "
                "differences: they grow along the shift axis"
            ]
    return []
