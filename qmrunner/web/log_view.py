"""Pieces of a step's log for a page: its end, or the surroundings of a line, with line numbers where they are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.api import logfiles
from qmrunner.app import App
from qmrunner.errors import NotFoundError
from qmrunner.model import visible

_PIECE = 1 << 16
# Lines of a log up to here are counted; of a larger one only its end is read, and its lines have no numbers.
_COUNTED = 32 << 20
_READ = 1 << 20
# Escape sequences of terminals, and control characters except tab and newline.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class View:
    """Lines of one attempt's log. `start` and `next` are offsets in bytes, `first` the number of the first line."""

    attempt: int
    start: int
    next: int
    first: int | None
    lines: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt, "start": self.start, "next": self.next, "first": self.first, "lines": self.lines,
        }  # fmt: skip


def cleaned(text: str) -> str:
    """Text without escape sequences and control characters, others that are invisible escaped; a carriage return
    starts a line."""
    return visible.lines(_SEQUENCES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def tail(app: App, job_id: str, step: str, attempt: int | None) -> View:
    """The last 64 KiB, from the beginning of a line. Raises NotFoundError `step_unknown`, `attempt_unknown`."""
    number, size = logfiles.size(app, job_id, step, attempt)
    start = max(0, size - _PIECE)
    _, data = logfiles.read(app, job_id, step, number or None, start, _PIECE)
    if start:
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    first = None if start > _COUNTED else _count(app, job_id, step, number, start) + 1
    return View(number, start, start + len(data), first, _lines(data))


def around(app: App, job_id: str, step: str, attempt: int | None, line: int, more: int) -> View | None:
    """The line with as many before and after it; None if the log has no such line, or it is not on this machine."""
    try:
        found = logfiles.around(app, job_id, step, attempt, line, more)
    except NotFoundError:
        return None
    if not found.data:
        return None
    return View(found.attempt, found.offset, found.offset + len(found.data), found.line, _lines(found.data))


def _count(app: App, job_id: str, step: str, attempt: int, end: int) -> int:
    lines, offset = 0, 0
    while offset < end:
        _, data = logfiles.read(app, job_id, step, attempt or None, offset, min(_READ, end - offset))
        if not data:
            break
        lines, offset = lines + data.count(b"\n"), offset + len(data)
    return lines


def _lines(data: bytes) -> list[str]:
    text = data.decode(errors="replace")
    parts: Sequence[str] = text.split("\n")
    return [cleaned(part).replace("\n", " ") for part in (parts[:-1] if parts and not parts[-1] else parts)]
