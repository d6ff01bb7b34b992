"""Events as JSON lines. Every process appends to one file, which the supervisor's log forwarder copies to stdout.

So no process ever waits for a reader of stdout, and `docker logs` still shows all events in order.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from qmrunner.masking import mask, mask_all
from qmrunner.model import visible

EVENTS_FILE = "events.jsonl"
_OURS = frozenset({"time", "level", "event"})
_WAITING_EVENTS = 10_000
_RECORD_BYTES = 15_000  # docker's json-file driver splits at 16,384


class _Stdout:
    """Writes one line per event from a thread, so that a blocked reader of stdout blocks no request. Events that do not
    fit into the queue are counted, and the count is written as `events_skipped` as soon as there is space."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING_EVENTS)
        self._skipped = 0
        self._thread = threading.Thread(target=self._write, name="events", daemon=True)
        self._thread.start()

    def msg(self, message: str) -> None:
        try:
            self._waiting.put_nowait(message)
        except queue.Full:
            self._skipped += 1

    def close(self, seconds: float) -> None:
        """Write the queued events, for at most that many seconds."""
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _write(self) -> None:
        while (message := self._waiting.get()) is not None:
            skipped, self._skipped = self._skipped, 0
            try:
                lines = [message, *([json.dumps({"event": "events_skipped", "count": skipped})] if skipped else [])]
                os.write(1, "".join(f"{line[:_RECORD_BYTES]}\n" for line in lines).encode(errors="replace"))
            except Exception:  # the reader is gone, or the disk is full: the process keeps running
                self._skipped += 1 + skipped


class _AppendFile:
    """One write(2) per event on an O_APPEND descriptor: events of several processes never mix.

    Never raises, because callers report their errors here. An event that cannot be written (disk full or gone) goes to
    stderr. If that fails too, it is counted, and the count is written as `events_skipped` as soon as there is space.
    The store has the history.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._skipped = 0
        self._torn = False  # the last line was cut off by a full disk

    def msg(self, message: str) -> None:
        try:
            data = _record(message)
            if self._append(data) or _written(2, data):
                return
        except Exception:  # no memory, or the path is no longer a regular file
            pass
        self._skipped += 1

    def _append(self, data: bytes) -> bool:
        try:
            if self._descriptor is None or not self._still_open():
                self._open()
            assert self._descriptor is not None
        except OSError:
            return False
        skipped, before = self._skipped, b"\n" if self._torn else b""
        if skipped:
            before += _record(json.dumps({"event": "events_skipped", "count": skipped}))
        whole = before + data
        count = _write(self._descriptor, whole)
        if count:
            self._torn = count < len(whole)
        if count < len(whole):
            return False
        self._skipped -= skipped
        return True

    def _still_open(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _record(message: str) -> bytes:
    return message.encode(errors="replace")[:_RECORD_BYTES] + b"\n"


def _written(descriptor: int, data: bytes) -> bool:
    return _write(descriptor, data) == len(data)


def _write(descriptor: int, data: bytes) -> int:
    """How many bytes were written; 0 on failure."""
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


def configure(run_root: Path, level: str, **bound: Any) -> None:
    """Send events and warnings of libraries to the events file. `bound` fields are added to every event."""
    _configure(_AppendFile(run_root / EVENTS_FILE), level, bound)


def to_stdout(level: str, **bound: Any) -> Callable[[float], None]:
    """Like `configure`, for a process whose events no daemon forwards: they go to stdout.

    Returns a function that writes the queued events, within the given number of seconds.
    """
    sink = _Stdout()
    _configure(sink, level, bound)
    return sink.close


def _configure(sink: Any, level: str, bound: Mapping[str, Any]) -> None:
    _logger.configure(sink, level, bound)
    handler = _LibraryHandler(level=logging.WARNING)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    sys.excepthook = _print_crash
    threading.excepthook = lambda crash: _print_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def configured() -> bool:
    """Whether events are configured, as in the daemon. In a command they would mix with its output."""
    return _logger.sink is not None


def reset() -> None:
    """Send events nowhere in particular again: to stderr."""
    _logger.configure(None, "info", {})


class Logger:
    """Writes events as JSON lines: time (UTC), level and name of the event, the fields of this process, and its own.

    Fields that are None are left out. `exc_info` is an exception, or True for the current one: its traceback becomes
    the field `exception`. Logging never raises in the caller: an event that cannot be rendered (a value without text,
    no memory) is written without its fields.
    """

    def __init__(self) -> None:
        self.sink: Any = None
        self._least = logging.INFO
        self._bound: Mapping[str, Any] = {}

    def configure(self, sink: Any, level: str, bound: Mapping[str, Any]) -> None:
        self.sink, self._least, self._bound = sink, logging.getLevelNamesMapping()[level.upper()], bound

    def debug(self, event: str, **fields: Any) -> None:
        self.log(logging.DEBUG, event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        self.log(logging.INFO, event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.log(logging.WARNING, event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        self.log(logging.ERROR, event, **fields)

    def critical(self, event: str, **fields: Any) -> None:
        self.log(logging.CRITICAL, event, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with the traceback of the current exception."""
        self.log(logging.ERROR, event, **{"exc_info": True, **fields})

    def log(self, level: int, event: str, **fields: Any) -> None:
        if level < self._least:
            return
        name = logging.getLevelName(level).lower()
        try:
            line = _rendered(name, event, {**self._bound, **fields})
        except Exception as problem:
            line = json.dumps({"level": name, "event": event, "not_rendered": type(problem).__name__})
        if self.sink is not None:
            self.sink.msg(line)
        else:
            _written(2, _record(line))


def _rendered(level: str, event: str, fields: dict[str, Any]) -> str:
    """Passwords are masked in every field, including messages of libraries and tracebacks."""
    problem = fields.pop("exc_info", None)
    if problem is True:
        problem = sys.exc_info()[1]
    if isinstance(problem, BaseException):
        fields["exception"] = "".join(traceback.format_exception(problem)).rstrip("\n")
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    shown = {name: mask_all(value) for name, value in fields.items() if value is not None and name not in _OURS}
    return visible.dumps({"time": now, "level": level, "event": event, **shown}, default=repr)


_logger = Logger()


class _LibraryHandler(logging.Handler):
    """Turns warnings of Huey, APScheduler and SQLAlchemy into events."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            error = repr(record.exc_info[1]) if record.exc_info and record.exc_info[1] is not None else None
        except Exception as problem:  # arguments that do not fit, a value without text
            message, error = str(record.msg), type(problem).__name__
        get().log(record.levelno, "library_message", logger=record.name, message=message, error=error)


def _print_crash(kind: type[BaseException], problem: BaseException | None, where: TracebackType | None) -> None:
    """Print the traceback of an uncaught exception to stderr, safe for a terminal."""
    if not issubclass(kind, SystemExit):
        text = visible.lines(mask("".join(traceback.format_exception(kind, problem, where))))
        with suppress(OSError):
            os.write(2, text.encode())


def get() -> Logger:
    return _logger
