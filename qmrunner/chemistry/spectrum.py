"""Spectra as SVG: a Lorentzian for each group of equivalent atoms, as high as the group is large, with atom labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Half width at half height and the least range shown, ppm.
_WIDTH = {"1H": 0.008, "13C": 0.25}
_LEAST_SPAN = {"1H": 4.0, "13C": 40.0}
_LABEL = {"1H": "$^{1}$H chemical shift (ppm)", "13C": "$^{13}$C chemical shift (ppm)"}
# A label is this part of the axis wide; nearer ones go up a row.
_LABEL_SHARE = 0.075
_ROWS = 5


def signals(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, tuple[int, ...]]]:
    """Shift in ppm and atom numbers of every group, from high shift to low."""
    groups = {tuple(row["equivalent_atoms"]): float(row["shift_ppm"]) for row in rows}
    return sorted(((shift, atoms) for atoms, shift in groups.items()), key=lambda one: (-one[0], one[1]))


def atom_label(atoms: Sequence[int], symbol: str) -> str:
    """``H4-H6`` for a run of numbers, ``H4,H7`` else."""
    if len(atoms) > 2 and list(atoms) == list(range(atoms[0], atoms[-1] + 1)):
        return f"{symbol}{atoms[0]}\N{EN DASH}{symbol}{atoms[-1]}"
    if len(atoms) > 4:
        return f"{symbol}{atoms[0]},{symbol}{atoms[1]}… ({len(atoms)})"
    return ",".join(f"{symbol}{number}" for number in atoms)


def draw_spectrum(rows: Sequence[Mapping[str, Any]], nucleus: str, path: Path) -> None:
    """Write the spectrum of `rows` (shift rows of one nucleus) to `path`; the same rows give the same bytes."""
    peaks = signals(rows)
    symbol = str(rows[0]["symbol"])
    shifts = [shift for shift, _ in peaks]
    low, high = _limits(min(shifts), max(shifts), _LEAST_SPAN[nucleus])
    axis = np.sort(np.concatenate([np.linspace(low, high, 4000), *(_fine(s, _WIDTH[nucleus]) for s in shifts)]))
    curve = sum(len(atoms) / (1 + ((axis - shift) / _WIDTH[nucleus]) ** 2) for shift, atoms in peaks)
    # Text stays text in the SVG, and nothing in it depends on the day or on chance.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "qmrunner", "font.size": 9}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.plot(axis, curve, color="#1f4e79", linewidth=1.0)
        _annotate(axes, peaks, symbol, high - low, float(np.max(curve)))
        axes.set_xlim(high, low)
        axes.set_xlabel(_LABEL[nucleus])
        axes.set_yticks([])
        axes.spines[["left", "right", "top"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "qmrunner"})


def _limits(low: float, high: float, least: float) -> tuple[float, float]:
    span = max(high - low, least)
    middle = (low + high) / 2
    return middle - 0.58 * span, middle + 0.58 * span


def _fine(shift: float, width: float) -> Any:
    return shift + width * np.linspace(-8, 8, 161)


def _annotate(axes: Any, peaks: Sequence[tuple[float, tuple[int, ...]]], symbol: str, span: float, top: float) -> None:
    last_in_row = [float("inf")] * _ROWS
    used = 0
    digits = 2 if symbol == "H" else 1
    for shift, atoms in peaks:
        free = (row for row in range(_ROWS) if last_in_row[row] - shift > _LABEL_SHARE * span)
        row = next(free, max(range(_ROWS), key=lambda r: last_in_row[r]))
        last_in_row[row] = shift
        used = max(used, row)
        axes.annotate(
            f"{atom_label(atoms, symbol)}\n{shift:.{digits}f}",
            xy=(shift, min(len(atoms), top)),
            xytext=(shift, top * (1.06 + 0.17 * row)),
            ha="center",
            va="bottom",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5},
        )
    axes.set_ylim(0, top * (1.28 + 0.17 * used))
