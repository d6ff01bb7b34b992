"""Raw engine output of steps: from the log of each attempt, or from the files that the step has published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qmrunner.api.files import Opened, open_below, published_file
from qmrunner.app import App
from qmrunner.errors import NotFoundError
from qmrunner.model.jobs import Attempt, Job, Step
from qmrunner.model.states import ATTEMPT_LIVE, JOB_FINAL, STEP_FINAL, StepState
from qmrunner.reports import files
from qmrunner.store import jobs as job_store
from qmrunner.store import workers

_NAMED = 50
_PIECE = 1 << 16
_PUBLISHED = "output.log"
_EXCERPT_BYTES = 1 << 20
_COUNTED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Position:
    """Position in the output: an attempt, and the number of bytes of its log already sent."""

    attempt: int
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes at a position, the next position, and whether the log is complete."""

    at: Position
    data: bytes
    next: Position
    over: bool
    state: StepState


def read(app: App, job_id: str, step_name: str, attempt: int | None, offset: int, limit: int) -> tuple[int, bytes]:
    """Number of the attempt and bytes of its log; no bytes if it has not begun or its log is on another machine.

    Raises NotFoundError `job_unknown`, `step_unknown`, `attempt_unknown`.
    """
    step, chosen = attempt_of(app, job_id, step_name, attempt)
    return (0, b"") if chosen is None else (chosen.number, _bytes(app, step, chosen, offset, limit))


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a log: number of the attempt, number of the first line (from 1), offset of its first byte, and bytes."""

    attempt: int
    line: int
    offset: int
    data: bytes


def around(app: App, job_id: str, step_name: str, attempt: int | None, line: int, context: int) -> Excerpt:
    """The line with this number, from 1, and `context` lines before and after it; no bytes if the log ends before.

    Raises NotFoundError as `read` does.
    """
    step, chosen = attempt_of(app, job_id, step_name, attempt)
    first = max(1, line - context)
    opened = None if chosen is None else opened_log(app, step, chosen)
    if chosen is None or opened is None:
        return Excerpt(0 if chosen is None else chosen.number, first, 0, b"")
    with opened.file as file:
        offset = _offset_of(file.fileno(), first)
        data = b"" if offset is None else os.pread(file.fileno(), _EXCERPT_BYTES, offset)
    # Lines end at line feeds, as they are counted: a carriage return is part of a line.
    lines = data.split(b"\n")
    kept = lines[: line + context + 1 - first]
    return Excerpt(chosen.number, first, offset or 0, b"\n".join(kept) + (b"\n" if len(kept) < len(lines) else b""))


def _offset_of(descriptor: int, line: int) -> int | None:
    """The offset of the first byte of a line; None if the file ends before it."""
    left, offset = line - 1, 0
    while left and (piece := os.pread(descriptor, _COUNTED_AT_ONCE, offset)):
        found = piece.count(b"\n")
        if found < left:
            left -= found
            offset += len(piece)
            continue
        at = -1
        for _ in range(left):
            at = piece.index(b"\n", at + 1)
        return offset + at + 1
    return None if left else offset


def attempt_of(app: App, job_id: str, step_name: str, attempt: int | None) -> tuple[Step, Attempt | None]:
    """The step, and its attempt with this number; with None its newest, or None if there is none yet. Raises as
    `read`."""
    _, step, tries = _load(app, job_id, step_name)
    if attempt is None:
        return step, tries[-1] if tries else None
    found = next((entry for entry in tries if entry.number == attempt), None)
    if found is None:
        raise NotFoundError(
            "attempt_unknown", f"step {step_name} has no attempt {attempt}", remedy=f"it has {len(tries)} attempts"
        )
    return step, found


def size(app: App, job_id: str, step_name: str, attempt: int | None) -> tuple[int, int]:
    """Number of the attempt and bytes in its log; 0 if it has not begun or its log is on another machine.

    Raises as `read`.
    """
    step, chosen = attempt_of(app, job_id, step_name, attempt)
    opened = None if chosen is None else opened_log(app, step, chosen)
    if chosen is None or opened is None:
        return (0 if chosen is None else chosen.number), 0
    with opened.file:
        return chosen.number, opened.size


def more(app: App, job_id: str, step_name: str, at: Position) -> Piece:
    """The next piece of a step's output. Raises NotFoundError `job_unknown`, `step_unknown`."""
    job, step, tries = _load(app, job_id, step_name)
    current = next((current for current in tries if current.number == at.attempt), None)
    data = b"" if current is None else _bytes(app, step, current, at.offset, _PIECE)
    live = current is not None and current.state in ATTEMPT_LIVE
    if live or len(data) == _PIECE:
        data = _whole(data)
    if data or live:
        return Piece(at, data, Position(at.attempt, at.offset + len(data)), False, step.state)
    later = [other.number for other in tries if other.number > at.attempt]
    if later:
        return Piece(at, b"", Position(later[0], 0), False, step.state)
    over = step.state in STEP_FINAL or job.state in JOB_FINAL
    return Piece(at, b"", at, over, step.state)


def _load(app: App, job_id: str, step_name: str) -> tuple[Job, Step, Sequence[Attempt]]:
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        step = job_store.step_named(connection, job_id, step_name)
        if step is not None:
            return job, step, workers.attempts_of_job(connection, job_id, [step.id])
        steps = job_store.outline(connection, job_id)
    more = "" if len(steps) <= _NAMED else f" and {len(steps) - _NAMED} more"
    raise NotFoundError(
        "step_unknown",
        f"job {job_id} has no step {step_name[:100]!r}",
        remedy=f"its steps are {', '.join(known.name for known in steps[:_NAMED])}{more}",
    )


def _bytes(app: App, step: Step, attempt: Attempt, offset: int, limit: int) -> bytes:
    opened = opened_log(app, step, attempt)
    if opened is None:
        return b""
    with opened.file as file:
        return os.pread(file.fileno(), limit, offset)


def opened_log(app: App, step: Step, attempt: Attempt) -> Opened | None:
    """The log's file name below this machine's folder of logs: workers may have it mounted elsewhere."""
    try:
        return open_below(app.settings.logs_root, (step.job_id, Path(attempt.log).name))
    except OSError:
        pass  # on another machine, removed by its retention, or not there yet
    if app.artifacts is not None and attempt.state not in ATTEMPT_LIVE:
        brought = files.log(app, step, attempt)
        if brought is not None and brought.is_file():
            for root in (app.settings.logs_root, app.settings.jobs_root):
                if brought.is_relative_to(root):
                    return open_below(root, brought.relative_to(root).parts)
    if step.state is not StepState.SUCCEEDED or attempt.number != step.attempt:
        return None
    try:
        return published_file(app, step.job_id, f"{step.name}/{_PUBLISHED}")
    except NotFoundError:
        return None


def _whole(data: bytes) -> bytes:
    """`data` without an incomplete character at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if length > back else data
    return data
