"""Huey's consumer over the hints: Huey reduced to its threads and its loop.

Whatever else Huey stores is neither written nor read here, so a revocation, schedule, lock or result that another
program wrote into the place of the hints has no effect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from huey import storage
from huey.api import Huey
from huey.serializer import Serializer

from qmrunner.queue.hints import HINT, NAME, READ_S, RedisHints, SqliteHints
from qmrunner.queue.wake import Wake


def huey_of(place: SqliteHints | RedisHints, wake: Wake, work: Callable[[], None]) -> Any:
    """A Huey whose consumer threads call `work` for each hint."""
    huey = _Hints(NAME, storage_class=HintStorage, serializer=_Mute(), results=False, place=place, wake=wake)
    huey.hint_task = huey.task(name="hint")(work)
    return huey


class _Mute(Serializer):  # type: ignore[misc]  # huey has no types
    """Decodes nothing. Huey's own serializer unpickles, and unpickling can execute code from the queue."""

    def _serialize(self, data: Any) -> bytes:
        return HINT

    def _deserialize(self, data: Any) -> None:
        return None


class _Hints(Huey):  # type: ignore[misc]
    """A Huey that takes every element of the queue for the same task, whatever its bytes are."""

    hint_task: Any

    def deserialize_task(self, data: Any) -> Any:
        return self.hint_task.s()


class HintStorage(storage.BlackHoleStorage):  # type: ignore[misc]
    """Huey's storage, reduced to hints. While their place cannot be used, `wake` still wakes a thread."""

    blocking = True

    def __init__(self, name: str, *, place: SqliteHints | RedisHints, wake: Wake) -> None:
        super().__init__(name)
        self._place, self._wake, self._unusable = place, wake, False

    def enqueue(self, data: Any, priority: float | None = None) -> None:
        self._place.leave()

    def dequeue(self) -> bytes | None:
        seen = self._wake.count
        try:
            woken = self._place.take(self._wake, seen)
            self._note(None)
        except Exception as problem:  # full, locked, unreachable, refused: the heartbeat finds ready steps
            self._note(problem)
            woken = self._wake.wait(seen, READ_S)
        return HINT if woken else None

    def close(self) -> None:
        self._place.close()

    def _note(self, problem: Exception | None) -> None:
        if (problem is not None) != self._unusable:
            self._unusable = problem is not None
            state = "back" if problem is None else f"lost: {problem}; ready steps are found by the beat"
            logging.getLogger("qmrunner.queue").warning("the queue %s is %s", self._place.where, state)
