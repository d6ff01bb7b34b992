"""The moves in a storage that only has Huey's own interface: no move is atomic, so a crash between two calls of it can
run a task twice or, in the moment in which `read_schedule` destroys what it returns, lose one, as plain Huey does.

A copy of each taken message is kept as a value of the storage, written before the message is destroyed. One list for
each home has their tokens.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from typing import Any

from qmrunner.apps.side.storages import PEEK, Item, new_token

_TAKEN, _PUT, _DUE = "qmrunner.taken", "qmrunner.put", "qmrunner.due"


class Peek:
    guarantee = PEEK

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def prepare(self) -> None:
        """Send again what a host had read from the schedule when it was killed."""
        for item in self._load(_DUE) or []:
            self._send(Item.from_json(item))
        self._storage.delete_data(_DUE)

    def watch(self) -> int | None:
        return None

    def keep_open(self) -> int | None:
        return None

    def ready(self) -> bool:
        return bool(self._storage.queue_size())

    def take(self, owner: str) -> tuple[str, bytes] | None:
        expected = self._storage.enqueued_items(1)
        if not expected:
            return None
        token = f"{owner}.{new_token()}"
        self._keep(token, expected[0])
        data = self._storage.dequeue()
        if data is None:  # another consumer was faster
            self.ack(token)
            return None
        if bytes(data) != bytes(expected[0]):
            self._keep(token, data)
        return token, bytes(data)

    def _keep(self, token: str, data: Any) -> None:
        self._storage.put_data(f"{_TAKEN}.{token}", base64.b64encode(bytes(data)))
        tokens = self.taken(_owner(token))
        if token not in tokens:
            self._save(f"{_TAKEN}.{_owner(token)}", [*tokens, token])

    def taken(self, owner: str) -> list[str]:
        tokens: list[str] = self._load(f"{_TAKEN}.{owner}") or []
        return tokens

    def read(self, token: str) -> bytes | None:
        value = self._value(f"{_TAKEN}.{token}")
        return None if value is None else base64.b64decode(value)

    def ack(self, token: str) -> None:
        tokens = self.taken(_owner(token))
        if token in tokens:
            self._save(f"{_TAKEN}.{_owner(token)}", [known for known in tokens if known != token])
        self._storage.delete_data(f"{_TAKEN}.{token}")

    def to_schedule(self, token: str, item: Item) -> None:
        if token in self.taken(_owner(token)):
            self._storage.add_to_schedule(item.data, item.at)
            self.ack(token)

    def due(self, now: datetime.datetime) -> list[tuple[Any, bytes]]:
        found = [bytes(data) for data in self._storage.read_schedule(now)]
        if found:
            # Behind what an error kept from being moved.
            self._save(_DUE, [*(self._load(_DUE) or []), *(Item(data).as_json() for data in found)])
        return [(data, data) for data in map(_data, self._load(_DUE) or [])]

    def move(self, found: Any, item: Item) -> bool:
        due = self._load(_DUE) or []
        place = next((place for place, value in enumerate(due) if _data(value) == found), None)
        if place is None:
            return False
        self._send(item)
        del due[place]
        if due:
            self._save(_DUE, due)
        else:
            self._storage.delete_data(_DUE)
        return True

    def put_once(self, put_id: str, items: list[Item]) -> bool:
        key = _put_key(put_id)
        if self._storage.has_data_for_key(key):
            return False
        for item in items:
            self._send(item)
        self._storage.put_data(key, b"1")
        return True

    def sent(self) -> list[str]:
        return []

    def forget(self, put_id: str) -> None:
        self._storage.delete_data(_put_key(put_id))

    def _send(self, item: Item) -> None:
        if item.at is None:
            self._storage.enqueue(item.data, item.priority)
        else:
            self._storage.add_to_schedule(item.data, item.at)

    def _save(self, key: str, value: Any) -> None:
        self._storage.put_data(key, json.dumps(value).encode())

    def _load(self, key: str) -> Any:
        value = self._value(key)
        return None if value is None else json.loads(value)

    def _value(self, key: str) -> bytes | None:
        # Huey answers with a class when there is none.
        value = self._storage.peek_data(key) if self._storage.has_data_for_key(key) else None
        return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else None


def _data(value: dict[str, Any]) -> bytes:
    return Item.from_json(value).data


def _owner(token: str) -> str:
    return token.partition(".")[0]


def _put_key(put_id: str) -> str:
    return f"{_PUT}.{hashlib.sha256(put_id.encode()).hexdigest()}"
