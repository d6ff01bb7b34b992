"""Another consumer of the same PostgreSQL queue is frozen inside a transaction (SIGSTOP, a frozen cgroup)."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from huey.storage import PostgresStorage

from qmrunner.apps.side import storages
from qmrunner.apps.side.storages import Item
from tests.support import ROOT, ended, wait_for

NOW = datetime.datetime(2026, 11, 30, 12, 0)
ENDED_S = 5.0  # the server ends the session of the frozen process
# The move is under way, and the process stops before its commit.
_FROZEN = f"""
import datetime, sys, time
from huey.storage import PostgresStorage
from qmrunner.apps.side import storages
moves = storages.of(PostgresStorage("lab", dsn=sys.argv[1], blocking=False))
def freeze(cursor, item):
    print("inside", flush=True)
    time.sleep(600)
moves._add = freeze
now = {NOW!r}
MOVE
"""
_MOVE = "found, data = moves.due(now)[0]\nmoves.move(found, storages.Item(data))"
_PUT = "moves.put_once('periodic/tick', [storages.Item(b'tick')])"


@contextmanager
def frozen(dsn: str, move: str) -> Iterator[None]:
    code = _FROZEN.replace("MOVE", move)
    with ended(
        subprocess.Popen(
            [sys.executable, "-c", code, dsn], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGSTOP)
        yield


@pytest.fixture
def dsn(postgres_database: str) -> str:
    return postgres_database.replace("+psycopg", "")


@pytest.fixture
def made(dsn: str) -> Iterator[tuple[Any, storages.Moves]]:
    storage = PostgresStorage("lab", dsn=dsn, blocking=False)
    moves = storages.of(storage)
    moves.prepare()
    yield storage, moves
    storage.close()


def test_due_messages_that_it_does_not_hold_are_moved_at_once(made: tuple[Any, storages.Moves], dsn: str) -> None:
    storage, moves = made
    for number in range(3):
        storage.add_to_schedule(b"%d" % number, NOW)
    with frozen(dsn, _MOVE):
        began = time.monotonic()
        assert [moves.move(found, Item(data)) for found, data in moves.due(NOW)] == [False, True, True]
        assert time.monotonic() - began < 1.0
        wait_for(
            lambda: [moves.move(found, Item(data)) for found, data in moves.due(NOW)] == [True],
            ENDED_S + 5.0,
            "the message that it held",
        )
    assert sorted(storage.dequeue() for _ in range(3)) == [b"0", b"1", b"2"]


def test_a_move_that_meets_its_lock_fails_soon_and_succeeds_later(made: tuple[Any, storages.Moves], dsn: str) -> None:
    _, moves = made
    with frozen(dsn, _PUT):
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            moves.put_once("periodic/tick", [Item(b"tick")])
        assert time.monotonic() - began < 3.0
        assert moves.put_once("another", [])  # the same connection serves on

        def put() -> bool:
            try:
                return moves.put_once("periodic/tick", [Item(b"tick")])
            except psycopg.errors.LockNotAvailable:
                return False

        wait_for(put, ENDED_S + 5.0, "the end of the frozen session")


def test_a_process_that_opens_its_huey_waits_for_seconds_at_most(made: tuple[Any, storages.Moves], dsn: str) -> None:
    """Huey makes its tables and indexes whenever it is imported; that waits for every transaction that wrote to one."""
    made[0].add_to_schedule(b"due", NOW)
    with frozen(dsn, _MOVE):
        began = time.monotonic()
        PostgresStorage("lab", dsn=dsn, blocking=False).close()
        assert time.monotonic() - began < ENDED_S + 5.0
