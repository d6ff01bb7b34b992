"""Moves in an application's Huey storage that Huey itself has not: each one is atomic.

`take` moves a message to a *taken* area instead of destroying it; `put_once` sends messages together with an id that
makes a repetition harmless; `move_due` moves due messages from the schedule to the queue.
"""

from __future__ import annotations

import base64
import datetime
import os
import uuid
from dataclasses import dataclass
from typing import Any

from huey import storage as huey_storage

FULL = "full"  # a message is in exactly one place at any time


@dataclass(frozen=True)
class Item:
    """A message to send: to the schedule when it has a time, else to the queue."""

    data: bytes
    priority: float | None = None
    at: datetime.datetime | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "data": base64.b64encode(bytes(self.data)).decode(),
            "priority": self.priority,
            "at": None if self.at is None else self.at.isoformat(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Item:
        at = value["at"]
        return cls(
            base64.b64decode(value["data"]),
            value["priority"],
            None if at is None else datetime.datetime.fromisoformat(at),
        )


def new_token() -> str:
    return uuid.uuid4().hex


def of(storage: huey_storage.BaseStorage) -> Sqlite:
    """The moves for this storage. Raises SystemExit for one that cannot have them."""
    if isinstance(storage, huey_storage.SqliteStorage):
        return Sqlite(storage)
    raise SystemExit(f"qmrunner: the storage {type(storage).__name__} of this Huey is not supported")


class Sqlite:
    """In the tables of the application's file, beside Huey's own."""

    guarantee = FULL

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def prepare(self) -> None:
        with self._storage.db(commit=True) as cursor:
            cursor.execute(
                "create table if not exists qmrunner_taken (queue text not null, token text not null, "
                "owner text not null, data blob not null, priority real not null, primary key (queue, token))"
            )
            cursor.execute(
                "create table if not exists qmrunner_put (queue text not null, id text not null, "
                "primary key (queue, id))"
            )

    def fingerprint(self) -> object:
        """Changes with every commit to the file."""
        return tuple(_stamp(f"{self._storage.filename}{suffix}") for suffix in ("", "-wal"))

    def take(self, owner: str) -> tuple[str, bytes] | None:
        name = self._storage.name
        # A look without the exclusive lock, as Huey does it.
        if not self._storage.sql("select 1 from task where queue = ? limit 1", (name,), results=True):
            return None
        with self._storage.db(commit=True) as cursor:
            cursor.execute(
                "select id, data, priority from task where queue = ? order by priority desc, id limit 1", (name,)
            )
            row = cursor.fetchone()
            if row is None:
                return None
            number, data, priority = row
            token = new_token()
            cursor.execute("delete from task where id = ?", (number,))
            cursor.execute(
                "insert into qmrunner_taken (queue, token, owner, data, priority) values (?, ?, ?, ?, ?)",
                (name, token, owner, data, priority),
            )
        return token, bytes(data)

    def taken(self, owner: str) -> list[str]:
        rows = self._storage.sql(
            "select token from qmrunner_taken where queue = ? and owner = ? order by rowid",
            (self._storage.name, owner),
            results=True,
        )
        return [token for (token,) in rows]

    def read(self, token: str) -> bytes | None:
        rows = self._storage.sql(
            "select data from qmrunner_taken where queue = ? and token = ?", (self._storage.name, token), results=True
        )
        return bytes(rows[0][0]) if rows else None

    def ack(self, token: str) -> None:
        self._storage.sql(
            "delete from qmrunner_taken where queue = ? and token = ?", (self._storage.name, token), commit=True
        )

    def to_schedule(self, token: str, data: bytes, at: datetime.datetime) -> None:
        """Move a taken message to the schedule."""
        with self._storage.db(commit=True) as cursor:
            cursor.execute("delete from qmrunner_taken where queue = ? and token = ?", (self._storage.name, token))
            if cursor.rowcount == 1:
                self._add(cursor, Item(data, None, at))

    def move_due(self, now: datetime.datetime) -> list[bytes]:
        """Move due messages from the schedule to the queue. Returns them."""
        due = (self._storage.name, now.timestamp())
        if not self._storage.sql(
            "select 1 from schedule where queue = ? and timestamp <= ? limit 1", due, results=True
        ):
            return []
        moved = []
        with self._storage.db(commit=True) as cursor:
            cursor.execute(
                "select id, data from schedule where queue = ? and timestamp <= ? order by timestamp, id", due
            )
            for number, data in cursor.fetchall():
                cursor.execute("delete from schedule where id = ?", (number,))
                self._add(cursor, Item(data))
                moved.append(bytes(data))
        return moved

    def put_once(self, put_id: str, items: list[Item]) -> bool:
        """Send these messages unless `put_id` has been used. Returns whether they were sent now."""
        if not items:
            return False
        with self._storage.db(commit=True) as cursor:
            cursor.execute("insert or ignore into qmrunner_put (queue, id) values (?, ?)", (self._storage.name, put_id))
            if cursor.rowcount != 1:
                return False
            for item in items:
                self._add(cursor, item)
        return True

    def forget(self, put_id: str) -> None:
        self._storage.sql(
            "delete from qmrunner_put where queue = ? and id = ?", (self._storage.name, put_id), commit=True
        )

    def _add(self, cursor: Any, item: Item) -> None:
        if item.at is None:
            cursor.execute(
                "insert into task (queue, data, priority) values (?, ?, ?)",
                (self._storage.name, item.data, item.priority or 0),
            )
        else:
            cursor.execute(
                "insert into schedule (queue, data, timestamp) values (?, ?, ?)",
                (self._storage.name, item.data, item.at.timestamp()),
            )


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
