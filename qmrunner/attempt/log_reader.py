"""Reads a running engine's log: progress, forecast, and signs of life for the hang watch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner import untrusted
from qmrunner.engines.base import ProgressReader
from qmrunner.logs import get as get_logger
from qmrunner.model.eta import Forecast
from qmrunner.model.jobs import Progress

if TYPE_CHECKING:
    from qmrunner.attempt.active import ActiveAttempt

_LASTING = ("energy_hartree", "gradient", "done", "ends_at")
_READ_AT_ONCE = 1 << 20
_SHOWN = 200


class LogReader:
    """Reads one attempt's log as it grows, and updates `attempt.progress`."""

    def __init__(self, attempt: ActiveAttempt, reader: ProgressReader) -> None:
        self._attempt = attempt
        self._reader = reader
        self._offset = 0
        self._lines = untrusted.Lines()
        self._iterations = 0
        self._iterating = False
        self._caught_up = True
        self._told: list[str] = []
        self._failed = False
        # An adopted attempt began before this consumer started to read its log.
        self._forecast = Forecast((attempt.directory.record() or {}).get("started_at") if _size(attempt.log) else None)

    def read(self) -> bool:
        """Read new lines. True when the engine has just written a checkpoint from which a later attempt can resume."""
        size = _size(self._attempt.log)
        self._caught_up = size is not None and size <= self._offset
        if size is None or size <= self._offset:
            return False
        try:
            with untrusted.open_file(self._attempt.log) as file:
                file.seek(self._offset)
                data = file.read(_READ_AT_ONCE)
                written_at = os.fstat(file.fileno()).st_mtime
        except OSError:
            return False  # the monitor handles a lost log
        self._offset += len(data)
        self._caught_up = self._offset >= size
        saves = [self._read_line(line, written_at) for line in self._lines.feed(data)]
        if self._attempt.narration is not None and self._told:
            self._attempt.narration.add(self._told)
        self._told.clear()
        return any(saves)

    def _read_line(self, line: bytes, written_at: float) -> bool:
        progress = self._understood(line.decode(errors="replace"))
        if progress is None:
            self._iterating = self._iterating and not line.strip()
            return False
        self._iterating = progress.iteration is not None
        self._iterations += progress.iteration is not None or progress.fraction is not None
        fields = progress.as_dict()
        if words := progress.text or progress.phase:
            self._told.append(words)
        ending = self._forecast.update(written_at, progress.done)
        if ending is not None:
            fields["ends_at"] = [round(ending.low_at, 1), round(ending.high_at, 1)]
        self._attempt.progress = _merged(self._attempt.progress, fields)
        self._attempt.dirty = True
        return progress.saves

    def _understood(self, line: str) -> Progress | None:
        """What the engine's reader makes of a line. A line on which it fails costs the progress of that line only."""
        try:
            return self._reader.feed(line)
        except Exception as problem:
            if not self._failed:
                self._failed = True
                fields = {"job": self._attempt.job.id, "step": self._attempt.step.name, "line": line[:_SHOWN]}
                get_logger().warning("line_not_understood", **fields, error=repr(problem)[:_SHOWN])
            return None

    def signs(self) -> dict[str, Any] | None:
        """The output fields of an `Observation`; None when the log does not exist."""
        if _size(self._attempt.log) is None:
            return None
        return {
            "output_bytes": self._offset,
            "iterations": self._iterations,
            "phase": self._attempt.progress.get("phase"),
            "iterating": self._iterating,
            "caught_up": self._caught_up,
        }


def _size(path: Path) -> int | None:
    try:
        return untrusted.size(path)
    except OSError:
        return None


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge progress: a new phase drops the old phase's fields; energy, gradient and forecast stay."""
    kept = old if new.get("phase") in (None, old.get("phase")) else {k: old[k] for k in _LASTING if k in old}
    return {**kept, **new}
