"""The attempts of a job on one line of time, with idle time folded. Pure: rows in, places of bars out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from qmrunner.model.text import duration
from qmrunner.web.present import STATES, unix

_WIDTH = 1000.0
_ROW = 22
_LABEL = 230.0
_MOST = 40
# A gap in which nothing ran is shown as wide as this share of the time in which something ran.
_GAP = 0.04
_LEAST = 3.0


def drawn(attempts: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any] | None:
    """Bars for at most the newest 40 attempts, or None without any; `now` (Unix s) is the end of those that run."""
    rows = [row for row in attempts if row["started_at"] is not None][-_MOST:]
    if not rows:
        return None
    spans = [(_unix(row["started_at"]), max(_unix(row["started_at"]), unix(row["finished_at"]) or now)) for row in rows]
    folds = _busy(spans)
    worked = sum(end - begin for begin, end in folds) or 1.0
    gap = _GAP * worked
    whole = worked + gap * (len(folds) - 1)
    scale = (_WIDTH - _LABEL) / whole

    def place(moment: float) -> float:
        x = 0.0
        for begin, end in folds:
            if moment <= end:
                return _LABEL + (x + max(0.0, moment - begin)) * scale
            x += end - begin + gap
        return _WIDTH

    bars = [
        {
            "y": number * _ROW + 4, "x": round(place(begin), 1),
            "width": round(max(_LEAST, place(end) - place(begin)), 1),
            "kind": STATES.get(str(row["state"]), "held"), "state": str(row["state"]),
            "label": f"{row['step']}, attempt {row['attempt']}", "step": row["step"], "attempt": row["attempt"],
            "took": duration(end - begin), "text_y": number * _ROW + 16, "code": row["code"],
        }
        for number, (row, (begin, end)) in enumerate(zip(rows, spans, strict=True))
    ]  # fmt: skip
    idle = [
        {"x": round(place(end), 1), "width": round(gap * scale, 1), "took": duration(later - end)}
        for (_, end), (later, _) in pairwise(folds)
    ]
    return {
        "width": int(_WIDTH), "height": len(rows) * _ROW + 8, "label": int(_LABEL), "bars": bars, "idle": idle,
        "more": len(attempts) - len(rows), "took": duration(worked),
    }  # fmt: skip


def _busy(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The times in which at least one attempt ran, in order."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1] + 1.0:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _unix(text: Any) -> float:
    found = unix(text)
    assert found is not None
    return found
