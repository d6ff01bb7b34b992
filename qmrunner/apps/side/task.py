"""One task, in the forked process: Huey's own `execute`, with a journal around the body and an outbox behind it.

The body's outcome is durable before Huey's epilogue begins; an attempt that finds the outcome of an earlier one repeats
only the epilogue. What the epilogue sends goes to `done.json`, and is sent once, by the host, before the step's end is
committed.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

from huey import consumer as huey_consumer
from huey import signals as huey_signals
from huey.api import PeriodicTask
from huey.exceptions import CancelExecution

from qmrunner.apps.side import background, done, locks, marking
from qmrunner.apps.side.judgement import Judgement
from qmrunner.apps.side.outbox import Outbox
from qmrunner.guardian.process import Order
from qmrunner.guardian.process_tree import MARKER

_KEPT = ("retries", "retry_delay", "retry_backoff")  # what a body may change of its task
# The last of these that Huey sends is how the task ended.
_ENDS = {
    getattr(huey_signals, f"SIGNAL_{name}", name): state  # an older Huey has not all of them
    for name, state in (
        ("COMPLETE", "complete"),
        ("ERROR", "error"),
        ("RETRYING", "retrying"),
        ("REVOKED", "revoked"),
        ("EXPIRED", "expired"),
        ("CANCELED", "cancelled"),
        ("LOCKED", "locked"),
        ("SCHEDULED", "scheduled"),
        ("TIMEOUT", "timeout"),
        ("RATE_LIMITED", "rate_limited"),
    )
}


_INTERRUPTED = getattr(huey_signals, "SIGNAL_INTERRUPTED", huey_signals.SIGNAL_ERROR)
_PERIODIC_AGAIN_S = 3600.0  # a periodic task whose lost run is older waits for its next time
# A cancelled task is reported by the first of these signals that has a receiver.
_FOR_CANCELLED = (
    huey_signals.SIGNAL_CANCELED,
    _INTERRUPTED,
    huey_signals.SIGNAL_ERROR,
)


class Stopped(BaseException):
    """A stop reached the body: its children felt it, too, so what it returns or raises is no outcome."""


class TaskDied(Exception):
    """Raised in place of a body that died before it had an outcome."""


class OutcomeLost(Exception):
    """An earlier attempt's body raised what cannot be stored; this has its text."""


def run(huey: Any, order: Order) -> None:
    """Run the task of this attempt. Ends the process."""
    status = 1
    try:
        status = TaskRun(huey, order).run()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # closed by the application, or a full disk: the outcome is stored
        os._exit(status)


class TaskRun:
    """`lasting`: the process runs other tasks after this one."""

    def __init__(self, huey: Any, order: Order, *, lasting: bool = False) -> None:
        self._huey = huey
        self._lasting = lasting
        self._folder = order.work
        self._order = order
        self._pid = os.getpid()
        self._asked = done.load(self._folder, done.TASK)
        self._outbox = Outbox(huey, self._folder, self._asked["step"], order.marker)
        self.stopped = False
        self._state = "none"
        self._error: dict[str, Any] | None = None
        self._ended_as: str | None = None  # instead of the last signal

    def run(self) -> int:
        """Returns the exit status of the process: 0 once `done.json` exists."""
        self._become_task()
        data = base64.b64decode(self._asked["message"])
        try:
            task = self._huey.deserialize_task(data)
        except Exception as problem:
            traceback.print_exc()
            self._state, self._error = "unreadable", _described(problem)
        else:
            self._execute(task)
            if self.stopped and self._state == "none":
                return 128 + signal.SIGTERM
        self._flush_statistics()
        sent = [item.as_json() for item in self._outbox.items]
        end = {"state": self._state, "error": self._error, "outbox": sent, "deletes": self._outbox.deletes}
        # Not durable: a machine that loses it has the outcome, and repeats the epilogue.
        done.write(self._folder, done.DONE, end, durable=False)
        if not self._lasting:
            background.finish()
        return 0

    # -- the process ------------------------------------------------------------------------------------------------

    def _become_task(self) -> None:
        os.environ.update(self._order.env)
        tempfile.tempdir = None
        marking.mark(self._order.env[MARKER])
        # Handlers, where Huey ignores them: what the task starts does not ignore what the task sends it.
        signal.signal(signal.SIGINT, _ignore)
        signal.signal(signal.SIGHUP, _ignore)
        signal.signal(signal.SIGTERM, self._on_term)
        process_mode = getattr(huey_consumer, "ProcessEnvironment", None)
        if process_mode is not None and hasattr(process_mode, "timeout"):
            self._huey._timeout_handler = process_mode().timeout
        self._outbox.intercept(self._on_signal)

    def _on_signal(self, name: str) -> None:
        if (self._state, _ENDS.get(name)) != ("retrying", "scheduled"):  # a retry with a delay
            self._state = _ENDS.get(name, self._state)

    def _on_term(self, number: int, frame: Any) -> None:
        self.stopped = True
        if self._outbox.in_body:
            raise KeyboardInterrupt

    def _flush_statistics(self) -> None:
        """Of the shutdown hooks only this one belongs to a task: Huey's own dashboard counts in each process."""
        flush = getattr(self._huey, "_shutdown", {}).get("huey_stats_flush")
        if flush is not None:
            try:
                flush()
            except Exception:
                traceback.print_exc()

    # -- the task ---------------------------------------------------------------------------------------------------

    def _execute(self, task: Any) -> None:
        self._release_locks()
        body = task.execute
        earlier = self._earlier_outcome()
        folders = [folder for folder, _ in self._earlier() if not _committed(folder)]
        judgement = Judgement(self._huey, task, self._folder, folders)
        if earlier is not None or self._asked["died"] is not None:
            judgement.has_begun()
        else:
            judgement.once()

        def execute() -> Any:
            judgement.restore()
            return self._body(task, body, earlier)

        task.execute = execute
        try:
            self._huey.execute(task)
        except Stopped:
            self._state = "none"
            return
        except Exception as problem:  # the epilogue failed: the result cannot be stored, for instance
            traceback.print_exc()
            self._error = _described(problem)
            self._huey._emit(huey_signals.SIGNAL_ERROR, task, problem)
            self._state = "result_lost"
        if self._ended_as is not None:
            self._state = self._ended_as

    def _body(self, task: Any, body: Any, earlier: dict[str, Any] | None) -> Any:
        if earlier is not None:
            return self._repeat(task, earlier)
        self._refuse_to_run(task)
        # Only a task that may not run twice asks for it after a power failure.
        done.write(self._folder, done.BEGUN, {"at": time.time()}, durable=self._asked["rerun"] == "never")
        value, problem = self._run_body(body)
        if os.getpid() != self._pid:
            _end_copy(problem)
        signal.setitimer(signal.ITIMER_REAL, 0)  # a timeout must not interrupt the journal
        # A body may handle the signal itself: what it started felt it all the same.
        self.stopped = self.stopped or os.path.exists(os.path.join(self._folder, done.STOPPED))
        if self.stopped:
            problem = self._end_of_stop(task)
        if problem is None:
            self._save(task, "value", value)
            return value
        if isinstance(problem, Exception):
            self._error = _described(problem)
            self._save(task, "error", problem)
        raise problem

    def _run_body(self, body: Any) -> tuple[Any, BaseException | None]:
        if self.stopped:
            return None, None
        try:
            try:
                self._outbox.in_body = True
                return body(), None
            finally:
                self._outbox.in_body = False
        except BaseException as problem:
            return None, problem

    def _end_of_stop(self, task: Any) -> BaseException:
        """The end of a body that a stop reached: none, unless the task is stopped for good."""
        if not os.path.exists(os.path.join(self._folder, done.CANCELLED)):
            return Stopped()
        return self._cancelled(task)

    def _cancelled(self, task: Any) -> BaseException:
        """Huey's exception for a cancelled task, once a signal that has a receiver was sent."""
        self._ended_as = "cancelled"
        name = next((name for name in _FOR_CANCELLED if self._has_receiver(name)), _FOR_CANCELLED[0])
        problem: BaseException = CancelExecution(retry=False)
        if name != _FOR_CANCELLED[0]:
            self._huey._emit(name, task, *([problem] if name == huey_signals.SIGNAL_ERROR else []))
        return problem

    def _has_receiver(self, name: str) -> bool:
        receivers = self._huey._signal.receivers
        return bool(receivers.get(name) or receivers.get("any"))

    def _refuse_to_run(self, task: Any) -> None:
        """Raise TaskDied in place of a body that has died for good, or that may not run twice."""
        if self._asked["died"] is not None:
            if self._asked["as"] == "cancelled":
                raise self._cancelled(task)
            self._fail(self._asked["died"])
        if isinstance(task, PeriodicTask) and self._first_begin() < time.time() - _PERIODIC_AGAIN_S:
            self._ended_as = "dropped"
            self._huey._emit(_INTERRUPTED, task)
            raise CancelExecution(retry=False)
        if self._asked["rerun"] == "never" and any(_began(folder) for folder, _ in self._earlier()):
            done.write(self._folder, done.BEGUN, {"at": time.time()})  # for the attempt after this one
            task.retries = 0
            self._ended_as = "lost_not_rerun"
            self._fail("its process died, and it may not run twice")

    def _fail(self, why: str) -> None:
        died = TaskDied(why)
        self._error = _described(died)
        raise died

    def _save(self, task: Any, kind: str, value: Any) -> None:
        """Make the outcome durable. A value that cannot be stored is marked, and its body never repeated."""
        try:
            stored = base64.b64encode(self._huey.serializer.serialize(value)).decode()
        except Exception as problem:
            traceback.print_exception(type(problem), problem, None)
            stored = None
        changed = {name: getattr(task, name) for name in _KEPT if isinstance(getattr(task, name, None), (int, float))}
        outcome = {"kind": kind, "stored": stored, "task": changed, "error": self._error, "at": time.time()}
        done.conclude(self._folder, outcome, self._asked["fence"])

    def _earlier_outcome(self) -> Any:
        earlier = self._asked["previous"]
        if earlier is None and self._asked["as"] == "cancelled":
            # Its body had ended, and its epilogue may have been seen: it ends as it began.
            folders = [folder for folder, _ in self._earlier() if not _committed(folder)]
            return next(filter(None, (done.load(folder, done.OUTCOME) for folder in reversed(folders))), None)
        return done.load(earlier, done.OUTCOME) if earlier else None

    def _repeat(self, task: Any, earlier: dict[str, Any]) -> Any:
        """End as the earlier attempt's body did."""
        done.conclude(self._folder, earlier, self._asked["fence"])  # kept for the attempt after this one
        self._error = earlier["error"]
        for name, value in earlier["task"].items():
            setattr(task, name, value)
        if earlier["stored"] is not None:
            value = self._huey.serializer.deserialize(base64.b64decode(earlier["stored"]))
        elif earlier["kind"] == "value":
            value = None
        else:
            value = OutcomeLost(self._error["text"] if self._error else "unknown")
        if earlier["kind"] == "error":
            raise value
        return value

    def _release_locks(self) -> None:
        """Delete the locks that dead attempts of this step still hold, by their value."""
        for folder, marker in self._earlier():
            locks.release(self._huey, folder, marker)

    def _first_begin(self) -> float:
        """When the body first began in an attempt whose end is not committed, Unix seconds; else now."""
        begun = (done.load(folder, done.BEGUN) for folder, _ in self._earlier() if not _committed(folder))
        return min((found["at"] for found in begun if found), default=time.time())

    def _earlier(self) -> list[tuple[str, str]]:
        """Folders and markers of the task's earlier attempts."""
        earlier = self._asked["earlier"]
        return [
            (earlier["folder"].replace("{number}", str(number)), earlier["marker"].replace("{number}", str(number)))
            for number in range(1, int(earlier["attempts"]) + 1)
        ]


def _began(folder: str) -> bool:
    """Whether the body began in this attempt, and its end is not committed."""
    return os.path.exists(os.path.join(folder, done.BEGUN)) and not _committed(folder)


def _committed(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, done.COMMITTED))


def _described(problem: BaseException) -> dict[str, Any]:
    """The last line of the traceback, and the innermost line of code that is not Huey's or ours."""
    text = traceback.format_exception_only(type(problem), problem)[-1].strip()
    where = None
    for frame in traceback.extract_tb(problem.__traceback__):
        if os.sep + "huey" + os.sep not in frame.filename and frame.filename != __file__:
            where = (frame.filename, frame.lineno)
    return {"text": text[:500], "file": where and where[0], "line": where and where[1]}


def _ignore(number: int, frame: Any) -> None:
    pass


def _end_copy(problem: BaseException | None) -> None:
    """End a process that the body forked and that came out of it, too: only the task's own process has an outcome."""
    if problem is not None:
        traceback.print_exception(type(problem), problem, problem.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # closed by the application, or a full disk
    os._exit(1 if problem is not None else 0)
