"""Threads and loops that outlive what goes wrong in them: it is told, and the next turn comes.

A thread that ends by an exception ends unseen, and with it the beat, the judge or a finished attempt's commit. What
must end the process does so by `os._exit`, with its status.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from qmrunner import logs
from qmrunner.errors import QmrunnerError

_SAY_AGAIN_S = 60.0
_PAUSE_S = 1.0  # after a turn that failed: what is lacking may come back, and none may spin meanwhile


class Guard:
    """`with guard:` tells any exception as the event `name` and goes on behind the block.

    Told at once, and then once a minute with how often it was meanwhile. It never raises itself.
    """

    def __init__(self, name: str, **fields: str) -> None:
        self._name = name
        self._fields = fields
        self._silent_until: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(problem, Exception):
            return False
        self.tell(problem)
        return True

    def tell(self, problem: Exception) -> None:
        try:
            self._tell(problem)
        except Exception:  # no memory even for this: whoever runs next still runs
            return

    def _tell(self, problem: Exception) -> None:
        kind = type(problem).__name__
        if time.monotonic() < self._silent_until.get(kind, 0.0):
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._silent_until[kind] = time.monotonic() + _SAY_AGAIN_S
        logs.get().error(
            self._name,
            **self._fields,
            code="internal_error",
            error=repr(problem),
            untold=self._untold.pop(kind, None),
            exc_info=None if isinstance(problem, OSError | MemoryError | QmrunnerError) else problem,
        )


def start(name: str, work: Callable[[], None]) -> None:
    """Do `work` once, in a thread. Raises RuntimeError or MemoryError where there can be no more threads."""

    def run() -> None:
        with Guard("thread_failed", thread=name):
            work()

    threading.Thread(target=run, name=name, daemon=True).start()


def try_to_start(name: str, work: Callable[[], None]) -> bool:
    """Like `start`; False, and told, where there can be no more threads."""
    with Guard("thread_failed", thread=name):
        start(name, work)
        return True
    return False


def keep(name: str, event: str, turn: Callable[[], None], leaving: threading.Event) -> None:
    """Take one `turn`, which waits by itself, after the other, in a thread, until `leaving` is set.

    Raises RuntimeError or MemoryError where there can be no more threads.
    """
    guard = Guard(event, thread=name)

    def run() -> None:
        while not leaving.is_set():
            with guard:
                turn()
                continue
            leaving.wait(_PAUSE_S)

    start(name, run)
