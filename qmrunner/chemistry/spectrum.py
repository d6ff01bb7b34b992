"""Spectra as SVG: a Lorentzian for each group of equivalent atoms, with a height proportional to the group's size, and
atom labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from qmrunner.chemistry.spectrum_signals import atom_label, signals

# Half width at half height, and minimum range shown, ppm.
_WIDTH = {"1H": 0.008, "13C": 0.25}
_LEAST_SPAN = {"1H": 4.0, "13C": 40.0}
_LABEL = {"1H": "$^{1}$H chemical shift (ppm)", "13C": "$^{13}$C chemical shift (ppm)"}
# Labels are vertical, and at least this part of the axis apart; they are smaller when there are many.
_LABEL_SHARE = 0.018
_FONT = 8.0
# Heights as parts of the highest peak: where the line to a label begins to bend, and where the label begins.
_BEND, _LABELS = 1.04, 1.14


def draw_spectrum(rows: Sequence[Mapping[str, Any]], nucleus: str, path: Path) -> None:
    """Write the spectrum of `rows` (shift rows of one nucleus) to `path`; the same rows give the same bytes."""
    peaks = signals(rows)
    symbol = str(rows[0]["symbol"])
    shifts = [shift for shift, _ in peaks]
    low, high = _limits(min(shifts), max(shifts), _LEAST_SPAN[nucleus])
    axis = np.sort(np.concatenate([np.linspace(low, high, 4000), *(_fine(s, _WIDTH[nucleus]) for s in shifts)]))
    curve = sum(len(atoms) / (1 + ((axis - shift) / _WIDTH[nucleus]) ** 2) for shift, atoms in peaks)
    # Keep text as text in the SVG, and make the file independent of date and random numbers.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "qmrunner", "font.size": 9}):
        figure = Figure(figsize=(9, 4.4), layout="constrained")
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
    digits = 2 if symbol == "H" else 1
    texts = [f"{shift:.{digits}f}  {atom_label(atoms, symbol)}" for shift, atoms in peaks]
    shifts = [shift for shift, _ in peaks]
    middle = (max(shifts) + min(shifts)) / 2
    share = min(_LABEL_SHARE, 1.0 / (len(peaks) + 1))
    places = spread(shifts, share * span, middle + 0.5 * span, middle - 0.5 * span)
    for (shift, atoms), place, text in zip(peaks, places, texts, strict=True):
        line = (shift, shift, place, place), (min(len(atoms), top), top * _BEND, top * (_LABELS - 0.02), top * _LABELS)
        axes.plot(*line, color="#999999", linewidth=0.5)
        size = _FONT * share / _LABEL_SHARE
        axes.text(place, top * (_LABELS + 0.01), text, rotation=90, ha="center", va="bottom", fontsize=size)
    # The height of a character is about this part of the height of the plot.
    axes.set_ylim(0, top * _LABELS / (1 - 0.018 * max(map(len, texts))))


def spread(places: Sequence[float], gap: float, first: float, last: float) -> list[float]:
    """The descending `places`, moved as little as possible so that they are `gap` apart and between `first` and
    `last`."""
    # Without the gaps this is a regression with descending values: pool neighbours until no value rises.
    pools: list[list[float]] = []
    for index, place in enumerate(places):
        pools.append([place + index * gap, 1.0])
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            (right, many), (left, few) = pools.pop(), pools.pop()
            pools.append([(left * few + right * many) / (few + many), few + many])
    level = [value for value, count in pools for _ in range(int(count))]
    room = last + (len(places) - 1) * gap
    return [max(min(value, first), room) - index * gap for index, value in enumerate(level)]
