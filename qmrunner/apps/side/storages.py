"""Moves in an application's Huey storage that Huey itself has not: each one is atomic.

`take` moves a message to a *taken* area instead of destroying it; `put_once` sends messages together with an id that
makes a repetition harmless; `move` moves a due message from the schedule to the queue.
"""

from __future__ import annotations

import base64
import datetime
import uuid
from dataclasses import dataclass
from typing import Any, Protocol

from huey import storage as huey_storage

FULL = "full"  # a message is in exactly one place at any time
PEEK = "peek"  # a crash between two calls of the storage can run a task twice


PERIODIC_KEPT = datetime.timedelta(hours=1)  # no clock of another daemon on the same queue is further behind


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


class Moves(Protocol):
    """What the host needs of a storage. Every method may raise whatever the storage raises."""

    guarantee: str

    def prepare(self) -> None:
        """Make the areas beside Huey's own, and complete what a killed host left half done."""

    def watch(self) -> int | None:
        """A descriptor that is readable after each change of the queue; None: ask `ready` again and again."""

    def keep_open(self) -> int | None:
        """Start a process that makes closing the storage cheap, and return its pid; None where it is cheap."""

    def ready(self) -> bool:
        """Whether the queue holds a message."""

    def take(self, owner: str) -> tuple[str, bytes] | None:
        """Move the next message to the taken area. Returns its token and data."""

    def taken(self, owner: str) -> list[str]:
        """Tokens of the messages that this owner took and has not acknowledged."""

    def read(self, token: str) -> bytes | None:
        """A taken message; None when it is not there."""

    def ack(self, token: str) -> None:
        """Delete a taken message."""

    def to_schedule(self, token: str, item: Item) -> None:
        """Move a taken message to the schedule; nothing when it is not there."""

    def due(self, now: datetime.datetime) -> list[tuple[Any, bytes]]:
        """Due messages of the schedule: what `move` needs to find one, and its data."""

    def move(self, found: Any, item: Item) -> bool:
        """Move a due message to the queue. False when another process was faster."""

    def put_once(self, put_id: str, items: list[Item]) -> bool:
        """Send these messages unless `put_id` has been used. Returns whether they were sent now."""

    def sent(self) -> list[str]:
        """Ids that were used and not forgotten; none where the storage cannot list them."""

    def forget(self, put_id: str) -> None:
        """Forget an id that no process will use again."""


def periodic_id(name: str, at: datetime.datetime) -> str:
    """The id under which a periodic task is sent for one minute."""
    return f"periodic/{name}/{at:%Y-%m-%dT%H:%M}"


def new_token() -> str:
    return uuid.uuid4().hex


def of(storage: huey_storage.BaseStorage) -> Moves:
    """The moves for this storage. Raises SystemExit for one that keeps messages in its process, or not at all."""
    from qmrunner.apps.side import files, peek, redis, sql

    known: tuple[tuple[str, Any], ...] = (
        ("SqliteStorage", sql.Sqlite),
        ("PostgresStorage", sql.Postgres),
        ("PriorityRedisStorage", redis.SortedSet),
        ("PriorityRedisExpireStorage", redis.SortedSet),
        ("RedisStorage", redis.List),
        ("FileStorage", files.Files),
    )
    for name, kind in known:
        found = getattr(huey_storage, name, None)  # an older Huey has not all of them
        if found is not None and isinstance(storage, found) and _has_scripts(storage) and _is_plain(storage):
            moves: Moves = kind(storage)
            return moves
    for name, what in (
        ("MemoryStorage", "keeps messages in its own process"),
        ("BlackHoleStorage", "discards messages"),
    ):
        found = getattr(huey_storage, name, None)
        if found is not None and isinstance(storage, found):
            raise SystemExit(
                f"qmrunner: a {type(storage).__name__} {what}, so that no other process could take them:"
                " use SqliteHuey, RedisHuey, PostgresHuey or FileHuey"
            )
    weaker: Moves = peek.Peek(storage)
    return weaker


def _has_scripts(storage: Any) -> bool:
    """Whether a storage like Redis can run scripts; that of valkey-glide is one, and has another client."""
    conn = getattr(storage, "conn", None)
    return not isinstance(storage, huey_storage.RedisStorage) or hasattr(conn, "register_script")


def _is_plain(storage: Any) -> bool:
    """Whether messages are sent and received as Huey does it: not encrypted, for instance, by an application's class.
    The moves take the place of these methods."""
    return all(
        name not in vars(storage) and getattr(type(storage), name).__module__ == huey_storage.__name__
        for name in ("enqueue", "dequeue", "add_to_schedule", "read_schedule")
    )
