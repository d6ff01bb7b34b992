"""Threads and loops that survive exceptions: the exception is logged, and the next turn runs.

A thread that ends by an exception ends unnoticed, and with it the heartbeat, the failure detector or a finished
attempt's commit. Code that must end the process calls `os._exit` with its status.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from qmrunner import logs
from qmrunner.errors import QmrunnerError

_REPEAT_AFTER_S = 60.0
_PAUSE_S = 1.0  # after a failed turn: the cause may disappear, and the loop must not spin meanwhile


class Guard:
    """`with guard:` logs any exception as the event `name` and continues after the block.

    Logs the first at once, then one a minute with the number suppressed meanwhile. Never raises itself.
    """

    def __init__(self, name: str, **fields: str) -> None:
        self._name = name
        self._fields = fields
        self._silent_until: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(problem, Exception):
            return False
        self.report(problem)
        return True

    def report(self, problem: Exception) -> None:
        try:
            self._log(problem)
        except Exception:  # not even memory to log: the loop must continue
            return

    def _log(self, problem: Exception) -> None:
        kind = type(problem).__name__
        if time.monotonic() < self._silent_until.get(kind, 0.0):
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._silent_until[kind] = time.monotonic() + _REPEAT_AFTER_S
        logs.get().error(
            self._name,
            **self._fields,
            code="internal_error",
            error=repr(problem),
            untold=self._suppressed.pop(kind, None),
            exc_info=None if isinstance(problem, OSError | MemoryError | QmrunnerError) else problem,
        )


def start(name: str, work: Callable[[], None]) -> None:
    """Run `work` once, in a thread. Raises RuntimeError or MemoryError when no thread can be started."""

    def run() -> None:
        with Guard("thread_failed", thread=name):
            work()

    threading.Thread(target=run, name=name, daemon=True).start()


def try_to_start(name: str, work: Callable[[], None]) -> bool:
    """Like `start`; logs and returns False when no thread can be started."""
    with Guard("thread_failed", thread=name):
        start(name, work)
        return True
    return False


def keep(name: str, event: str, turn: Callable[[], None], leaving: threading.Event) -> None:
    """Call `turn`, which does its own waiting, repeatedly in a thread until `leaving` is set.

    Raises RuntimeError or MemoryError when no thread can be started.
    """
    guard = Guard(event, thread=name)

    def run() -> None:
        while not leaving.is_set():
            with guard:
                turn()
                continue
            leaving.wait(_PAUSE_S)

    start(name, run)
