"""What a task sends, at once from its body and through an outbox from Huey's epilogue; its locks; its chords."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qmrunner.apps.side import locks
from qmrunner.apps.side.storages import Item


class Outbox:
    """Takes the place of parts of Huey in the process of one task. `step` claims chords, `marker` owns locks."""

    def __init__(self, huey: Any, folder: str, step: str, marker: str) -> None:
        self._huey = huey
        self._folder = folder
        self._step = step
        self._marker = marker
        self.in_body = False
        self.items: list[Item] = []
        self.deletes: list[str] = []  # keys to delete once the items are sent

    def intercept(self, on_signal: Callable[[str], None]) -> None:
        huey, storage = self._huey, self._huey.storage
        send, schedule, emit = storage.enqueue, storage.add_to_schedule, huey._emit

        def enqueue(data: bytes, priority: float | None = None) -> None:
            if self.in_body:
                send(data, priority)
            else:
                self.items.append(Item(data, priority))

        def add_to_schedule(data: bytes, at: Any, *more: Any) -> None:
            if self.in_body:
                schedule(data, at, *more)
            else:
                self.items.append(Item(data, None, at))

        def noted_emit(name: str, *values: Any, **named: Any) -> Any:
            on_signal(name)
            return emit(name, *values, **named)

        locks.own(self._folder, self._marker)
        storage.enqueue, storage.add_to_schedule = enqueue, add_to_schedule
        huey._emit = noted_emit
        if hasattr(huey, "_check_chord"):
            huey._check_chord = self._check_chord

    def _check_chord(self, chord: Any, value: Any) -> None:
        """Huey's, but for its counter: a member that runs twice would count twice."""
        huey = self._huey
        key = f"chord:{chord.cid}"
        members = [f"{key}:{index}" for index in range(chord.size)]
        huey.put_result(f"{key}:{chord.idx}", value)
        if not all(huey.storage.has_data_for_key(member) for member in members):
            return
        mine = huey.serializer.serialize(self._step)
        claim = f"qmrunner.{key}"
        if not huey.storage.put_if_empty(claim, mine) and huey.get(claim, peek=True) != self._step:
            return
        results = [huey.get(member, peek=True) for member in members]
        # Deleted once the callback is sent: a kill before that must find them again.
        self.deletes += [*members, claim]
        callback = chord.callback
        callback.extend_data((results,))
        huey.enqueue(callback)
