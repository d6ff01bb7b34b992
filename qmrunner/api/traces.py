"""The course of a run: iterations with energy, gradient and residual, read from a log by the engine's own reader.

A reader has to see every line once, so each log that is looked at keeps its reader and its points in memory.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from qmrunner import untrusted
from qmrunner.api.logfiles import attempt_of, opened_log
from qmrunner.app import App
from qmrunner.engines import convergence
from qmrunner.engines.base import ProgressReader
from qmrunner.model.jobs import Attempt, Progress, Step
from qmrunner.model.states import ATTEMPT_LIVE

COLUMNS = ("number", "iteration", "phase", "energy_hartree", "gradient", "residual")
MOST_POINTS = 2000
_MOST_KEPT = 50
# What a look reads at most: the readers manage some 20 MB/s.
_READ_BYTES = 16 << 20
_PIECE = 1 << 18

Point = tuple[int, int | None, str | None, float | None, float | None, float | None]


@dataclass
class _Trace:
    """A log as far as it was read."""

    reader: ProgressReader
    offset: int = 0
    number: int = 0
    phase: str | None = None
    points: list[Point] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    lines: untrusted.Lines = field(default_factory=untrusted.Lines)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, descriptor: int) -> bool:
        """Read what is new, up to a bound. True if nothing more is there now."""
        end = self.offset + _READ_BYTES
        while self.offset < end:
            data = os.pread(descriptor, _PIECE, self.offset)
            if not data:
                return True
            self.offset += len(data)
            for line in self.lines.feed(data):
                with suppress(Exception):  # a line that no reader expects has no point
                    text = line.decode(errors="replace")
                    convergence.learn(text, self.thresholds)
                    self._add(self.reader.feed(text))
        return False

    def _add(self, progress: Progress | None) -> None:
        if progress is None:
            return
        self.phase = progress.phase or self.phase
        values = (progress.energy_hartree, progress.gradient, progress.residual)
        if all(value is None for value in values):
            return
        self.number += 1
        self.points.append((self.number, progress.iteration, self.phase, *values))
        if len(self.points) > 2 * MOST_POINTS:
            self.points = _thinned(self.points)


def _thinned(points: list[Point]) -> list[Point]:
    """Half of the points, the ends among them. Points with a gradient, the steps of an optimisation, go last."""
    plain = [point for point in points if point[4] is None]
    dropped = {point[0] for point in plain[1:-1:2]}
    kept = [point for point in points if point[0] not in dropped]
    return kept if len(kept) <= MOST_POINTS else [*kept[:-1:2], kept[-1]]


class Traces:
    """The traces of one server, the newest ones kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], _Trace] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, app: App, job_id: str, step_name: str, attempt: int | None, after: int) -> dict[str, Any]:
        """The points with numbers above `after`, at most `MOST_POINTS`.

        ``columns`` names the values of each of ``points``; ``last`` is the `after` of the next look; ``complete`` is
        False while more of the log waits to be read; ``here`` is False if the log is not on this machine.
        ``thresholds`` are those of ``gradient`` and ``residual`` that the run has printed. Raises NotFoundError as
        `logfiles.read` does.
        """
        step, chosen = attempt_of(app, job_id, step_name, attempt)
        if chosen is None:
            return _answer(0, [], after, complete=True, here=True, live=False)
        live = chosen.state in ATTEMPT_LIVE
        opened = opened_log(app, step, chosen)
        if opened is None:
            return _answer(chosen.number, [], after, complete=True, here=False, live=live)
        trace = self._of(app, step, chosen)
        with opened.file as file, trace.lock:
            complete = trace.read(file.fileno())
            found = [point for point in trace.points if point[0] > after]
        while len(found) > MOST_POINTS:
            found = _thinned(found)
        answer = _answer(chosen.number, found, after, complete=complete, here=True, live=live)
        return {**answer, "thresholds": dict(trace.thresholds)}

    def _of(self, app: App, step: Step, attempt: Attempt) -> _Trace:
        key = (step.job_id, step.name, attempt.number)
        with self._lock:
            if key not in self._known:
                self._known[key] = _Trace(app.engine(step.engine).reader(step))
                if len(self._known) > _MOST_KEPT:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]


def _answer(attempt: int, points: list[Point], after: int, *, complete: bool, here: bool, live: bool) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "columns": list(COLUMNS),
        "points": [list(point) for point in points],
        "last": points[-1][0] if points else after,
        "complete": complete,
        "here": here,
        "live": live,
        "thresholds": {},
    }
