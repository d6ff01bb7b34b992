"""What a running engine has written so far, fed to its reader: progress, forecast, and signs of life for the watch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner import untrusted
from qmrunner.engines.base import ProgressReader
from qmrunner.model.eta import Forecast

if TYPE_CHECKING:
    from qmrunner.attempt.active import Live

_LASTING = ("energy_hartree", "gradient", "done", "ends_at")
_READ_AT_ONCE = 1 << 20


class Feed:
    """Reads one attempt's log as it grows, and keeps `live.progress`."""

    def __init__(self, live: Live, reader: ProgressReader) -> None:
        self._live = live
        self._reader = reader
        self._offset = 0
        self._lines = untrusted.Lines()
        self._iterations = 0
        self._iterating = False
        self._caught_up = True
        # An attempt that is taken over began before what is read of it now.
        self._forecast = Forecast((live.folder.record() or {}).get("started_at") if _size(live.log) else None)

    def read(self) -> bool:
        """Take in what is new. True when the engine has just written what a later attempt can go on from."""
        size = _size(self._live.log)
        self._caught_up = size is not None and size <= self._offset
        if size is None or size <= self._offset:
            return False
        try:
            with untrusted.open_file(self._live.log) as file:
                file.seek(self._offset)
                data = file.read(_READ_AT_ONCE)
                written_at = os.fstat(file.fileno()).st_mtime
        except OSError:
            return False  # who follows the attempt looks after it
        self._offset += len(data)
        self._caught_up = self._offset >= size
        saves = [self._feed(line, written_at) for line in self._lines.feed(data)]
        return any(saves)

    def _feed(self, line: bytes, written_at: float) -> bool:
        progress = self._reader.feed(line.decode(errors="replace"))
        if progress is None:
            self._iterating = self._iterating and not line.strip()
            return False
        self._iterating = progress.iteration is not None
        self._iterations += progress.iteration is not None or progress.fraction is not None
        told = progress.as_dict()
        ending = self._forecast.update(written_at, progress.done)
        if ending is not None:
            told["ends_at"] = [round(ending.low_at, 1), round(ending.high_at, 1)]
        self._live.progress = _merged(self._live.progress, told)
        self._live.dirty = True
        return progress.saves

    def signs(self) -> dict[str, Any] | None:
        """What an `Observation` says of the output; None when the log is not there: then nothing can be told."""
        if _size(self._live.log) is None:
            return None
        return {
            "output_bytes": self._offset,
            "iterations": self._iterations,
            "phase": self._live.progress.get("phase"),
            "iterating": self._iterating,
            "caught_up": self._caught_up,
        }


def _size(path: Path) -> int | None:
    try:
        return untrusted.size(path)
    except OSError:
        return None


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new progress over the old: what belongs to a phase goes with it; energy, gradient and forecast stay."""
    kept = old if new.get("phase") in (None, old.get("phase")) else {k: old[k] for k in _LASTING if k in old}
    return {**kept, **new}
