"""Pieces of a step's log for a page: its end, or the surroundings of a line, with line numbers where they are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.api import logfiles
from qmrunner.app import App
from qmrunner.errors import NotFoundError

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
    """Text without escape sequences and control characters; a carriage return starts a line."""
    return _SEQUENCES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


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
        number, size = logfiles.size(app, job_id, step, attempt)
    except NotFoundError:
        return None
    wanted, at, offset = max(1, line - more), 1, 0
    found: list[bytes] = []
    start = None
    while offset < min(size, _COUNTED):
        _, data = logfiles.read(app, job_id, step, number or None, offset, _READ)
        if not data:
            break
        count = data.count(b"\n")
        if start is None and at + count >= wanted:
            skip = _after_newlines(data, wanted - at)
            start, at, data, offset = offset + skip, wanted, data[skip:], offset + skip
            count = data.count(b"\n")
        if start is not None:
            found.append(data)
            if at + count > line + more:
                break
        at, offset = at + count, offset + len(data)
    if start is None:
        return None
    whole = b"".join(found)
    end = _after_newlines(whole, line + more - wanted + 1)
    kept = whole[:end]
    return View(number, start, start + len(kept), wanted, _lines(kept)) if kept else None


def _after_newlines(data: bytes, count: int) -> int:
    at = 0
    for _ in range(count):
        found = data.find(b"\n", at)
        if found < 0:
            return len(data)
        at = found + 1
    return at


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
