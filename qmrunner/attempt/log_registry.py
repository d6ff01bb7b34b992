"""The logs that the supervisor forwards: the consumer adds entries to a folder, the log forwarder removes them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from qmrunner.host.atomic_write import unfinished, write_atomically

TAILS = "tails"


class LogRegistry:
    """Registry of the logs to forward: one file per log, in a folder shared with the log forwarder."""

    def __init__(self, run_root: Path) -> None:
        self.folder = run_root / TAILS

    def add(self, label: str, number: int, log: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = self.folder / _entry_name(label, number)
        if not entry.exists():
            write_atomically(entry, json.dumps({"label": label, "log": str(log)}))

    def finish(self, label: str, number: int) -> None:
        """Mark a log as complete: the forwarder sends the rest, then removes the entry."""
        self._finish(self.folder / _entry_name(label, number))

    def finish_all_but(self, living: Collection[tuple[str, int]]) -> None:
        """Mark all logs of a killed consumer as complete, except the given labels and numbers."""
        kept = {_entry_name(label, number) for label, number in living}
        for entry in self.folder.glob("*~*.tail"):
            # Of a living attempt also the files to which its processes redirect their output.
            owner = re.sub(r":.*(~\d+\.tail)$", r"\1", entry.name)
            if owner not in kept:
                self._finish(entry)
        for begun in self.folder.glob(f"{unfinished(Path('*~*.tail'))}"):
            begun.unlink(missing_ok=True)

    def _finish(self, entry: Path) -> None:
        with suppress(OSError):
            if entry.exists():
                entry.with_name(f"{entry.name}.done").touch()


def _entry_name(label: str, number: int) -> str:
    return f"{label.replace('/', '~')}~{number}.tail"
