"""The moves that keep a message in exactly one place, in each of Huey's storages."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huey import storage as huey_storage

from qmrunner.apps.side import storages
from qmrunner.apps.side.storages import Item
from tests import redis

OWNER, OTHER = "a" * 32, "b" * 32
NOW = datetime.datetime(2026, 11, 30, 12, 0)
Made = tuple[Any, storages.Moves]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis.server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


class Plain(huey_storage.BaseStorage):  # type: ignore[misc]  # huey has no types
    """A storage that qmrunner does not know: only Huey's own interface."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._inner = huey_storage.SqliteStorage(name, filename=path)
        for method in (
            "enqueue", "dequeue", "queue_size", "enqueued_items", "add_to_schedule", "read_schedule", "schedule_size",
            "put_data", "peek_data", "delete_data", "has_data_for_key", "close",
        ):  # fmt: skip
            setattr(self, method, getattr(self._inner, method))


@pytest.fixture(
    params=["Plain", "Sqlite", "File", "Redis", "RedisExpire", "PriorityRedis", "PriorityRedisExpire", "Postgres"]
)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    """A storage of each kind, and its moves."""
    kind = Plain if request.param == "Plain" else getattr(huey_storage, f"{request.param}Storage")
    options: dict[str, Any] = {}
    if request.param == "Plain":
        options = {"path": str(tmp_path / "huey.db")}
    elif request.param == "Sqlite":
        options = {"filename": str(tmp_path / "huey.db")}
    elif request.param == "File":
        options = {"path": str(tmp_path / "huey")}
    elif request.param == "Postgres":
        options = {"dsn": request.getfixturevalue("postgres_database"), "blocking": False}
    else:
        options = {"url": request.getfixturevalue("redis_url"), "blocking": False}
    storage = kind(f"lab{uuid.uuid4().hex}", **options)  # the server is shared
    moves = storages.of(storage)
    moves.prepare()
    moves.prepare()  # as at every start
    yield storage, moves
    storage.close()


def test_a_taken_message_is_in_the_taken_area_until_it_is_acknowledged(made: Made) -> None:
    storage, moves = made
    assert (moves.ready(), moves.take(OWNER)) == (False, None)
    storage.enqueue(b"one\x00\xff")
    storage.enqueue(b"two")
    assert moves.ready()
    first = moves.take(OWNER)
    assert first is not None
    token, data = first
    assert (data, storage.queue_size()) == (b"one\x00\xff", 1)
    assert (moves.taken(OWNER), moves.taken(OTHER), moves.read(token)) == ([token], [], data)
    moves.ack(token)
    moves.ack(token)
    assert (moves.taken(OWNER), moves.read(token)) == ([], None)
    second = moves.take(OTHER)
    assert second is not None
    assert second[1] == b"two"


def test_a_message_whose_time_has_not_come_moves_to_the_schedule_and_back(made: Made) -> None:
    storage, moves = made
    storage.enqueue(b"later")
    taken = moves.take(OWNER)
    assert taken is not None
    item = Item(b"later", None, NOW)
    moves.to_schedule(taken[0], item)
    moves.to_schedule(taken[0], item)
    assert (moves.taken(OWNER), storage.queue_size(), storage.schedule_size()) == ([], 0, 1)
    assert moves.due(NOW - datetime.timedelta(seconds=1)) == []
    ((found, data),) = moves.due(NOW)
    assert data == b"later"
    assert moves.move(found, Item(data))
    assert not moves.move(found, Item(data))
    assert (storage.schedule_size(), storage.queue_size(), storage.dequeue()) == (0, 1, b"later")


def test_messages_are_sent_once_for_one_id(made: Made) -> None:
    storage, moves = made
    items = [Item(b"one"), Item(b"two"), Item(b"at noon", None, NOW)]
    assert moves.put_once("job/task", items)
    assert not moves.put_once("job/task", items)
    assert (storage.queue_size(), storage.schedule_size()) == (2, 1)
    assert [storage.dequeue(), storage.dequeue()] == [b"one", b"two"]
    assert not moves.put_once("job/task", items)
    assert moves.sent() == ([] if moves.guarantee == storages.PEEK else ["job/task"])
    moves.forget("job/task")
    moves.forget("job/task")
    assert moves.sent() == []
    assert moves.put_once("job/task", [Item(b"one")])


def test_the_order_of_priorities_is_kept(made: Made) -> None:
    storage, moves = made
    if not getattr(storage, "priority", False):
        return  # this storage knows none
    storage.enqueue(b"low", 1)
    assert moves.put_once("job/task", [Item(b"high", 9), Item(b"none")])
    taken = [moves.take(OWNER) for _ in range(3)]
    assert [one[1] for one in taken if one] == [b"high", b"low", b"none"]


def test_a_storage_that_cannot_keep_messages_is_refused() -> None:
    with pytest.raises(SystemExit, match="MemoryStorage"):
        storages.of(huey_storage.MemoryStorage("lab"))


def test_a_half_done_send_of_files_is_completed_at_the_next_start(
    tmp_path: Path, break_rename: Callable[[int], None]
) -> None:
    storage = huey_storage.FileStorage("lab", str(tmp_path / "huey"))
    moves = storages.of(storage)
    moves.prepare()
    break_rename(2)  # the list is in place, its first message not yet
    with pytest.raises(OSError, match="killed"):
        moves.put_once("job/task", [Item(b"one"), Item(b"two")])
    break_rename(0)
    moves.prepare()
    assert not moves.put_once("job/task", [Item(b"one"), Item(b"two")])
    assert [storage.dequeue(), storage.dequeue(), storage.dequeue()] == [b"one", b"two", None]


@pytest.fixture
def break_rename(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the nth rename from now on fail, as if the process ended there; 0: none."""
    import os

    real, left = os.rename, [0]

    def rename(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError("killed")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    return lambda number: left.__setitem__(0, number)


def test_a_storage_with_hueys_interface_alone_keeps_copies_of_what_it_destroys(tmp_path: Path) -> None:
    storage = Plain("lab", str(tmp_path / "huey.db"))
    moves = storages.of(storage)
    moves.prepare()
    assert moves.guarantee == "peek"
    storage.enqueue(b"one")
    storage.add_to_schedule(b"due", NOW)
    taken = moves.take(OWNER)
    assert taken is not None
    assert moves.due(NOW) == [(b"due", b"due")]  # and the host is killed
    again = storages.of(storage)
    again.prepare()
    assert (again.taken(OWNER), again.read(taken[0]), storage.dequeue()) == ([taken[0]], b"one", b"due")
    again.ack(taken[0])
    assert (again.taken(OWNER), again.read(taken[0]), storage._inner.result_store_size()) == ([], None, 1)
