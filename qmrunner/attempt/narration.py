"""The progress of a running attempt in words, one line per phase and iteration: stdout under `QMRUNNER_TEE=progress`.

The lines are in a file that is forwarded in place of the engine's log. A restarted consumer reads the log again from
its start, and continues after the lines that the file has.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FOLDER = "progress"  # in the run folder; the log forwarder removes a file once it is forwarded


class Narration:
    """Appends to the file at `path`, in the private run folder. A full disk loses lines, never the attempt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: str | None = None
        try:
            self._known = path.read_bytes().count(b"\n")
        except OSError:
            self._known = 0

    def add(self, texts: Sequence[str]) -> None:
        """Append the texts, except those that repeat the one before."""
        lines = []
        for text in texts:
            if text != self._last:
                self._last = text
                lines.append(" ".join(text.split()) + "\n")
        skipped = min(self._known, len(lines))
        self._known -= skipped
        if len(lines) > skipped:
            with suppress(OSError), open(self._path, "ab") as file:
                file.write("".join(lines[skipped:]).encode())


def file_of(run_root: Path, label: str, number: int) -> Path:
    """Where the lines of an attempt are."""
    return run_root / FOLDER / f"{label.replace('/', '~')}~{number}.log"
