"""Threads that outlive what goes wrong in them, and a logger that never raises."""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from qmrunner import logs
from qmrunner.errors import NotReadyError
from qmrunner.host.threads import Guard, keep, start, try_to_start
from tests.support import ROOT, ended, tmpfs, wait_for

PROBLEMS: list[Exception] = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.EIO, "Input/output error"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    MemoryError(),
    RuntimeError("can't start new thread"),
    RecursionError("maximum recursion depth exceeded"),
    sqlite3.OperationalError("database or disk is full"),
    sqlite3.DatabaseError("database disk image is malformed"),
    psycopg.OperationalError("the connection is lost"),
    psycopg.errors.AdminShutdown("terminating connection"),
    NotReadyError("store_unavailable", "the store does not answer"),
    KeyError("directory"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    AssertionError(),
    StopIteration(),
    ExceptionGroup("several", [ValueError("one"), OSError(5, "two")]),
]


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Sends events to a file as a daemon does, and reads them."""
    logs.configure(tmp_path, "info", worker="tester")
    path = tmp_path / logs.EVENTS_FILE
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    logs.reset()
    logging.getLogger().handlers[:] = [
        one for one in logging.getLogger().handlers if type(one).__module__ != "qmrunner.logs"
    ]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda one: type(one).__name__)
def test_a_thread_continues_behind_every_problem_and_reports_it(
    events: Callable[[], list[dict[str, Any]]], problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qmrunner.host.threads._PAUSE_S", 0.01)
    turns, leaving = [], threading.Event()

    def turn() -> None:
        turns.append(threading.current_thread())
        if len(turns) < 4:
            raise problem
        leaving.wait(0.01)

    keep("some", "some_failed", turn, leaving)
    wait_for(lambda: len(turns) > 5, what="turns behind the problem")
    leaving.set()
    turns[0].join(5)
    assert not turns[0].is_alive()
    assert set(turns) == {turns[0]}
    (told,) = events()  # once for three times
    assert (told["event"], told["code"], told["thread"]) == ("some_failed", "internal_error", "some")
    assert type(problem).__name__ in told["error"]


def test_what_continues_going_wrong_is_reported_once_a_minute_with_its_count(
    events: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, now = Guard("loop_failed"), [1000.0]
    monkeypatch.setattr("qmrunner.host.threads.time.monotonic", lambda: now[0])
    for _ in range(130):  # two minutes
        with guard:
            raise OSError(errno.ENOSPC, "full")
        now[0] += 1.0
    with guard:
        raise ValueError("another kind is told at once")
    told = [(one["error"][:7], one.get("untold")) for one in events()]
    assert told == [("OSError", None), ("OSError", 59), ("OSError", 59), ("ValueEr", None)]


def test_what_must_end_the_process_does() -> None:
    """A signal's exception and an exit pass through every guard."""
    for last in (KeyboardInterrupt, SystemExit):
        with pytest.raises(last), Guard("some_failed"):
            raise last


def test_a_thread_of_one_errand_reports_how_it_ended(events: Callable[[], list[dict[str, Any]]]) -> None:
    def errand() -> None:
        raise OSError(errno.ENOSPC, "full")

    start("errand", errand)
    wait_for(events, what="the event")
    assert [(one["event"], one["thread"]) for one in events()] == [("thread_failed", "errand")]


def test_without_another_thread_an_errand_is_declined_and_reported(
    events: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", none)
        assert try_to_start("errand", lambda: None) is False
    done = threading.Event()
    assert try_to_start("errand", done.set) is True
    assert done.wait(5)
    assert [one["event"] for one in events()] == ["thread_failed"]


def test_threads_of_qmrunner_are_made_in_one_place_or_hold_a_guard() -> None:
    """So that none can end unseen: `guarded` makes them, the tee has guards in its two, and the logger and the end of a
    Huey task, in its application's interpreter, catch all."""
    made = {
        path.relative_to(ROOT / "qmrunner").as_posix()
        for path in (ROOT / "qmrunner").rglob("*.py")
        if "Thread(" in path.read_text()
    }
    assert made == {"host/threads.py", "supervisor/log_forwarder.py", "logs.py", "apps/side/background.py"}


# -- the logger -----------------------------------------------------------------------------------------------------


class Mute:
    """A value that has no text."""

    def __repr__(self) -> str:
        raise MemoryError

    __str__ = __repr__


def test_an_event_that_cannot_be_rendered_keeps_its_name(
    events: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [one for one in logging.getLogger().handlers if type(one).__module__ == "qmrunner.logs"]
    monkeypatch.setattr(logging.getLogger(), "handlers", ours)  # that of pytest raises
    logs.get().error("strange", value=Mute())
    circle: dict[str, Any] = {}
    circle["self"] = circle
    logs.get().warning("stranger", value=circle)
    logging.getLogger("library").warning("%d and %s", "no number", Mute())
    logging.getLogger("library").error("%s", Mute())
    names = ["strange", "stranger", "library_message", "library_message"]
    told = events()
    assert [one["event"] for one in told] == names
    assert told[0]["not_rendered"] == "MemoryError"
    assert told[1]["not_rendered"] in ("ValueError", "RecursionError")


# Logs once for each line it reads, to the folder that it is given, and reports it.
LOGS = """
import sys
from pathlib import Path
from qmrunner import logs
logs.configure(Path(sys.argv[1]), "info")
print("ready", flush=True)
for line in sys.stdin:
    for number in range(int(line)):
        logs.get().error("event", number=number, text="x" * 400)
    print("logged", flush=True)
"""


class Logger:
    """A process that logs into `folder`, with stderr as it is given."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        assert process.stdin
        assert process.stdout
        self._into, self._out = process.stdin, process.stdout
        assert self._out.readline() == "ready\n"

    def log(self, count: int = 1) -> None:
        self._into.write(f"{count}\n")
        self._into.flush()
        assert self._out.readline() == "logged\n"


def logger(folder: Path, stderr: Any, close: str = "") -> subprocess.Popen[Any]:
    # A shell closes what Python's own start-up must find closed.
    argv = ["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, "-c", LOGS, str(folder)]
    return subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
    )  # fmt: skip


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with open(filler, "ab", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            pass
    return filler


def test_on_a_full_disk_with_stderr_on_it_logging_continues_and_the_gap_is_counted(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", 2) as small, open(small / "err", "ab") as err:
        with ended(logger(small, err)) as process:
            one = Logger(process)
            one.log()
            filler = fill(small)
            one.log(200)
            filler.unlink()
            one.log()
        lines = (small / logs.EVENTS_FILE).read_text().splitlines()
        on_stderr = (small / "err").read_text().count('"event": "event"')
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue  # the one that the full disk cut off
    assert len(lines) - len(whole) <= 1
    (gap,) = [one["count"] for one in whole if one["event"] == "events_skipped"]
    assert whole[-1]["event"] == "event"
    # What fitted into the last page of either file was written; all else was counted.
    assert gap > 150
    assert sum(one["event"] == "event" for one in whole) + gap + on_stderr in (202, 203)


@pytest.mark.parametrize("close", ["2>&-", "2>/dev/full", "2>/dev/null"])
def test_without_a_place_for_events_or_words_logging_continues(tmp_path: Path, close: str) -> None:
    folder = tmp_path / "no folder"
    folder.write_text("a file")
    with ended(logger(folder, None, close)) as process:
        one = Logger(process)
        one.log(5)
        folder.unlink()
        one.log()
    told = [json.loads(line)["event"] for line in (folder / logs.EVENTS_FILE).read_text().splitlines()]
    assert told == (["event"] if close == "2>/dev/null" else ["events_skipped", "event"])


def test_words_to_a_reader_that_left_are_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "no folder"
    folder.write_text("a file")
    out, into = os.pipe()
    with ended(logger(folder, into)) as process:
        os.close(into)
        one = Logger(process)
        os.close(out)
        one.log(3)
        assert process.poll() is None


def test_events_on_stdout_outlive_a_full_disk_behind_it(tmp_path: Path) -> None:
    code = (
        "import time, sys\nfrom qmrunner import logs\nclose = logs.to_stdout('info')\n"
        "for line in sys.stdin:\n    logs.get().info('event', text='x' * 2000)\n    time.sleep(0.2)\n"
        "    print('logged', file=sys.stderr, flush=True)\nclose(2.0)\n"
    )
    with tmpfs(tmp_path / "small", 1) as small, open(small / "out", "ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE, text=True
        )
        with ended(process):

            def log() -> None:
                assert process.stdin
                assert process.stderr
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stderr.readline() == "logged\n"

            log()
            filler = fill(small)
            for _ in range(5):
                log()
            filler.unlink()
            log()
            assert process.stdin
            process.stdin.close()
            assert process.wait(20) == 0
        told = (small / "out").read_text()
    assert '"events_skipped"' in told
    assert told.rstrip().endswith("}")


def test_a_pause_keeps_a_failing_turn_from_spinning() -> None:
    count, leaving = [0], threading.Event()

    def turn() -> None:
        count[0] += 1
        raise MemoryError

    keep("some", "some_failed", turn, leaving)
    time.sleep(0.3)
    leaving.set()
    assert count[0] == 1
