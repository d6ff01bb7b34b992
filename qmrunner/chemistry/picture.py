"""A spectrum as SVG for pages: sticks that can be selected, the curve, the ± of each signal, measured peaks below.

Places carry their ppm in `data-` attributes, so that a script can zoom; without one the picture is complete. Colours
are classes, which the page's style sheet defines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from qmrunner.chemistry.comparison import DIGITS, exchanges
from qmrunner.chemistry.spectrum_signals import atom_label, signals

WIDTH, HEIGHT = 900, 300
LEFT, RIGHT, TOP = 10, 890, 66
LABEL = 60
AXIS, BELOW = 210, 262
# Half width at half height, and least range shown, ppm.
LINE_PPM = {"1H": 0.02, "13C": 0.6}
_LEAST_PPM = {"1H": 4.0, "13C": 40.0}
_MARGIN = 0.08
_TICKS = 9
_POINTS = 1200
# Height of the curve, as a part of what there is.
_FULL = 0.95
# Labels: levels above each other, width of a letter, space between two, height of a level.
_LEVELS, _LETTER, _GAP, _LEVEL = 4, 6.7, 3.0, 13
_UNSEEN = ' visibility="hidden"'


def spectrum(rows: Sequence[Mapping[str, Any]], nucleus: str, compared: Mapping[str, Any] | None = None) -> str | None:
    """The spectrum of one nucleus; None without such a nucleus. `compared` (`comparison.compare`) adds the measured
    peaks, mirrored below the axis and joined to their signals."""
    chosen = [row for row in rows if row["nucleus"] == nucleus]
    if not chosen:
        return None
    row_of = {int(row["atom"]): row for row in chosen}
    peaks = signals(chosen)
    low, high = limits(nucleus, [shift for shift, _ in peaks] + _measured(compared))
    width = LINE_PPM[nucleus]
    most = max(_level(peaks, shift, width) for shift, _ in peaks)
    labels = [atom_label(atoms, str(row_of[atoms[0]]["symbol"])) for _, atoms in peaks]
    rises = levels([_place(shift, low, high) for shift, _ in peaks], labels)
    parts = [
        f'<svg class="spectrum" id="spectrum-{nucleus}" data-nucleus="{nucleus}" data-low="{low:.4f}" '
        f'data-high="{high:.4f}" data-line="{LINE_PPM[nucleus]}" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
        f'aria-label="computed {nucleus} spectrum, {len(peaks)} signals; the table has the same values">',
        f'<defs><pattern id="hatch-{nucleus}" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"></line></pattern>'
        f'<clipPath id="clip-{nucleus}"><rect x="{LEFT}" y="0" width="{RIGHT - LEFT}" height="{HEIGHT}"></rect>'
        "</clipPath></defs>",
        _axis(low, high, nucleus),
        f'<g clip-path="url(#clip-{nucleus})">',
        f'<path class="curve" d="{_curve(peaks, low, high, nucleus, most)}"></path>',
        *(
            _stick(shift, atoms, row_of[atoms[0]], (low, high), most, rise)
            for (shift, atoms), rise in zip(peaks, rises, strict=True)
        ),
        *_mirror(compared, low, high),
        "</g></svg>",
    ]
    return "".join(parts)


def overlaid(
    candidates: Sequence[Sequence[Mapping[str, Any]]], nucleus: str, measured: Sequence[float] = ()
) -> str | None:
    """The curves of several jobs over one axis, and measured peaks below it; None if no job has the nucleus.

    The curve of candidate 0 has the class `c0`, and so on; each is scaled to its highest signal.
    """
    found = {
        number: signals([row for row in rows if row["nucleus"] == nucleus])
        for number, rows in enumerate(candidates)
        if any(row["nucleus"] == nucleus for row in rows)
    }
    if not found:
        return None
    low, high = limits(nucleus, [shift for peaks in found.values() for shift, _ in peaks] + list(measured))
    parts = [
        f'<svg class="spectrum overlaid" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{nucleus} spectra of '
        f'{len(found)} jobs over each other; the tables have the same values">',
        _axis(low, high, nucleus),
    ]
    for number, peaks in found.items():
        most = max(_level(peaks, shift, LINE_PPM[nucleus]) for shift, _ in peaks)
        parts.append(f'<path class="curve c{number}" d="{_curve(peaks, low, high, nucleus, most)}"></path>')
    for ppm in measured:
        x = _place(ppm, low, high)
        parts.append(
            f'<g class="peak"><title>measured {ppm:.{DIGITS[nucleus]}f} ppm</title>'
            f'<line x1="{x:.2f}" y1="{AXIS + 14}" x2="{x:.2f}" y2="{BELOW}"></line></g>'
        )
    return "".join([*parts, "</svg>"])


def limits(nucleus: str, shifts: Sequence[float]) -> tuple[float, float]:
    """The range that a spectrum shows, ppm."""
    span = max(max(shifts) - min(shifts), _LEAST_PPM[nucleus])
    middle = (max(shifts) + min(shifts)) / 2
    return middle - (0.5 + _MARGIN) * span, middle + (0.5 + _MARGIN) * span


def levels(places: Sequence[float], labels: Sequence[str]) -> list[int | None]:
    """On which level each label finds room beside those before it, from left to right; None where there is none."""
    ends = [-math.inf] * _LEVELS
    found: list[int | None] = []
    for place, text in zip(places, labels, strict=True):
        half = len(text) * _LETTER / 2
        level = next((n for n, end in enumerate(ends) if place - half >= end), None)
        if level is not None:
            ends[level] = place + half + _GAP
        found.append(level)
    return found


def _place(ppm: float, low: float, high: float) -> float:
    """The place of a shift, which grows to the left."""
    return LEFT + (high - ppm) / (high - low) * (RIGHT - LEFT)


def _measured(compared: Mapping[str, Any] | None) -> list[float]:
    if compared is None:
        return []
    assigned = [row["measured_ppm"] for row in compared["signals"] if row["measured_ppm"] is not None]
    return assigned + [peak["ppm"] for peak in compared["unassigned"]]


def _curve(peaks: Sequence[tuple[float, tuple[int, ...]]], low: float, high: float, nucleus: str, most: float) -> str:
    """The sum of Lorentz curves. Each is drawn at least three points wide."""
    width = LINE_PPM[nucleus]
    grid = {low + (high - low) * step / _POINTS for step in range(_POINTS + 1)}
    for shift, _ in peaks:
        grid |= {shift + width * step / 4 for step in range(-16, 17)}
    points = []
    for ppm in sorted(point for point in grid if low <= point <= high):
        height = _level(peaks, ppm, width) / most * (AXIS - TOP) * _FULL
        points.append(f"{_place(ppm, low, high):.1f},{AXIS - height:.1f}")
    return "M" + "L".join(points)


def _level(peaks: Sequence[tuple[float, tuple[int, ...]]], ppm: float, width: float) -> float:
    return math.fsum(len(atoms) / (1 + ((ppm - shift) / width) ** 2) for shift, atoms in peaks)


def _stick(
    shift: float, atoms: Sequence[int], row: Mapping[str, Any], ends: tuple[float, float], most: float, rise: int | None
) -> str:
    nucleus, error = str(row["nucleus"]), row.get("uncertainty_ppm")
    label, digits = atom_label(atoms, str(row["symbol"])), DIGITS[nucleus]
    x = _place(shift, *ends)
    top = AXIS - len(atoms) / most * (AXIS - TOP) * _FULL
    loose = exchanges(row)
    words = f"{label}, {shift:.{digits}f} ppm"
    if error is not None:
        words += f" ± {error:.{digits}f}"
    if loose:
        words += "; on N, O or S: may differ by several ppm"
    numbers = " ".join(map(str, atoms))
    half = (error or 0.0) / (ends[1] - ends[0]) * (RIGHT - LEFT)
    band = (
        f'<rect class="band" data-error="{error or 0:g}" x="{x - half:.2f}" y="{AXIS - 8}" width="{2 * half:.2f}" '
        'height="8"></rect>'
    )
    hatch = (
        f'<rect class="loose" x="{x - 8:.2f}" y="{TOP}" width="16" height="{AXIS - TOP}" '
        f'fill="url(#hatch-{nucleus})"></rect>'
    )
    return (
        f'<g class="stick{" exchanges" if loose else ""}" data-atoms="{numbers}" data-ppm="{shift:.4f}" tabindex="0" '
        f'role="button" aria-label="{escape(words)}"><title>{escape(words)}</title>{hatch if loose else ""}{band}'
        f'<line x1="{x:.2f}" y1="{AXIS}" x2="{x:.2f}" y2="{top:.1f}"></line>'
        f'<rect class="hit" x="{x - 12:.2f}" y="{TOP}" width="24" height="{AXIS - TOP}"></rect>'
        f'<text x="{x:.2f}" y="{LABEL - _LEVEL * (rise or 0)}" text-anchor="middle"{_UNSEEN if rise is None else ""}>'
        f"{escape(label)}</text></g>"
    )


def _mirror(compared: Mapping[str, Any] | None, low: float, high: float) -> list[str]:
    """Measured peaks below the axis: each with a line to every signal assigned to it."""
    if compared is None:
        return []
    digits = DIGITS[str(compared["nucleus"])]
    found = []
    for row in compared["signals"]:
        if row["measured_ppm"] is None:
            continue
        there, here = _place(row["measured_ppm"], low, high), _place(row["shift_ppm"], low, high)
        words = f"measured {row['measured_ppm']:.{digits}f} ppm, {row['label']}, "
        words += f"difference {row['difference_ppm']:+.{digits}f}"
        numbers = " ".join(map(str, row["atoms"]))
        found.append(
            f'<g class="peak" data-atoms="{numbers}" data-ppm="{row["measured_ppm"]:.4f}" '
            f'data-from="{row["shift_ppm"]:.4f}"><title>{escape(words)}</title>'
            f'<line class="join" x1="{here:.2f}" y1="{AXIS}" x2="{there:.2f}" y2="{AXIS + 14}"></line>'
            f'<line x1="{there:.2f}" y1="{AXIS + 14}" x2="{there:.2f}" y2="{BELOW}"></line></g>'
        )
    for peak in compared["unassigned"]:
        x = _place(peak["ppm"], low, high)
        found.append(
            f'<g class="peak lone" data-ppm="{peak["ppm"]:.4f}"><title>measured {peak["ppm"]:.{digits}f} ppm, no signal'
            f'</title><line x1="{x:.2f}" y1="{AXIS + 14}" x2="{x:.2f}" y2="{BELOW}"></line></g>'
        )
    return found


def _axis(low: float, high: float, nucleus: str) -> str:
    step = _step((high - low) / _TICKS)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step)
    ticks = [
        f'<g class="tick"><line x1="{_place(n * step, low, high):.2f}" y1="{BELOW}" '
        f'x2="{_place(n * step, low, high):.2f}" y2="{BELOW + 5}"></line>'
        f'<text x="{_place(n * step, low, high):.2f}" y="{BELOW + 18}" text-anchor="middle">'
        f"{n * step:.{digits}f}</text></g>"
        for n in range(first, math.floor(high / step) + 1)
    ]
    return (
        f'<g class="axis"><line x1="{LEFT}" y1="{AXIS}" x2="{RIGHT}" y2="{AXIS}"></line>'
        f'<line x1="{LEFT}" y1="{BELOW}" x2="{RIGHT}" y2="{BELOW}"></line><g class="ticks">{"".join(ticks)}</g>'
        f'<text class="name" x="{(LEFT + RIGHT) / 2:g}" y="{HEIGHT - 2}" text-anchor="middle">'
        f"{nucleus} shift / ppm</text></g>"
    )


def _step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
