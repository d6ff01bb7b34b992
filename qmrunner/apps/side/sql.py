"""The moves in SQLite and PostgreSQL: tables beside Huey's own, one transaction for each move."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qmrunner.apps.side import keeper, watch
from qmrunner.apps.side.storages import FULL, Item, new_token


class _Sql:
    """Huey's own connection, which its lock guards; statements with `?` for values and `{name}` for tables."""

    guarantee = FULL
    _mark = "?"
    _blob, _real = "blob", "real"
    _locked = ""  # after a select whose row is deleted next: those of other transactions are left out

    def __init__(self, storage: Any, tables: dict[str, str]) -> None:
        self._storage = storage
        self._tables = tables

    def _run(self, cursor: Any, statement: str, *values: Any) -> Any:
        cursor.execute(statement.format(**self._tables).replace("?", self._mark), values)
        return cursor

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._storage.db(commit=True) as cursor:
            yield cursor

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        with self._storage.db() as cursor:
            rows: list[Any] = self._run(cursor, statement, *values).fetchall()
        return rows

    def prepare(self) -> None:
        with self._transaction() as cursor:
            self._run(
                cursor,
                "create table if not exists {taken} "
                f"(queue text not null, token text not null, owner text not null, data {self._blob} not null, "
                f"taken_at {self._real} not null, primary key (queue, token))",
            )
            self._run(
                cursor,
                "create table if not exists {put} (queue text not null, id text not null, primary key (queue, id))",
            )

    def take(self, owner: str) -> tuple[str, bytes] | None:
        # A look without the exclusive lock, as Huey does it.
        if not self._has_message():
            return None
        name = self._storage.name
        with self._transaction() as cursor:
            row = self._run(
                cursor,
                f"select id, data from {{task}} where queue = ? order by priority desc, id limit 1{self._locked}",
                name,
            ).fetchone()
            if row is None:
                return None
            number, data = row
            token, now = new_token(), datetime.datetime.now().timestamp()
            self._run(cursor, "delete from {task} where id = ?", number)
            statement = "insert into {taken} (queue, token, owner, data, taken_at) values (?, ?, ?, ?, ?)"
            self._run(cursor, statement, name, token, owner, data, now)
        return token, bytes(data)

    def watch(self) -> int | None:
        return None

    def keep_open(self) -> int | None:
        return None

    def ready(self) -> bool:
        return self._has_message()

    def _has_message(self) -> bool:
        return bool(self._ask("select 1 from {task} where queue = ? limit 1", self._storage.name))

    def taken(self, owner: str) -> list[str]:
        query = "select token from {taken} where queue = ? and owner = ? order by taken_at"
        return [token for (token,) in self._ask(query, self._storage.name, owner)]

    def read(self, token: str) -> bytes | None:
        rows = self._ask("select data from {taken} where queue = ? and token = ?", self._storage.name, token)
        return bytes(rows[0][0]) if rows else None

    def ack(self, token: str) -> None:
        with self._transaction() as cursor:
            self._untake(cursor, token)

    def _untake(self, cursor: Any, token: str) -> bool:
        done = self._run(cursor, "delete from {taken} where queue = ? and token = ?", self._storage.name, token)
        return bool(done.rowcount == 1)

    def to_schedule(self, token: str, item: Item) -> None:
        with self._transaction() as cursor:
            if self._untake(cursor, token):
                self._add(cursor, item)

    def due(self, now: datetime.datetime) -> list[tuple[Any, bytes]]:
        query = "select id, data from {schedule} where queue = ? and timestamp <= ? order by timestamp, id"
        return [(number, bytes(data)) for number, data in self._ask(query, self._storage.name, now.timestamp())]

    def move(self, found: Any, item: Item) -> bool:
        with self._transaction() as cursor:
            due = f"select id from {{schedule}} where id = ?{self._locked}"
            if self._run(cursor, f"delete from {{schedule}} where id in ({due})", found).rowcount != 1:
                return False
            self._add(cursor, item)
        return True

    def put_once(self, put_id: str, items: list[Item]) -> bool:
        with self._transaction() as cursor:
            statement = "insert into {put} (queue, id) values (?, ?) on conflict do nothing"
            if self._run(cursor, statement, self._storage.name, put_id).rowcount != 1:
                return False
            for item in items:
                self._add(cursor, item)
        return True

    def sent(self) -> list[str]:
        return [put_id for (put_id,) in self._ask("select id from {put} where queue = ?", self._storage.name)]

    def forget(self, put_id: str) -> None:
        with self._transaction() as cursor:
            self._run(cursor, "delete from {put} where queue = ? and id = ?", self._storage.name, put_id)

    def _add(self, cursor: Any, item: Item) -> None:
        name = self._storage.name
        if item.at is None:
            statement = "insert into {task} (queue, data, priority) values (?, ?, ?)"
            self._run(cursor, statement, name, item.data, item.priority or 0)
        else:
            statement = "insert into {schedule} (queue, data, timestamp) values (?, ?, ?)"
            self._run(cursor, statement, name, item.data, item.at.timestamp())


class Sqlite(_Sql):
    def __init__(self, storage: Any) -> None:
        tables = {"task": "task", "schedule": "schedule", "taken": "qmrunner_taken", "put": "qmrunner_put"}
        super().__init__(storage, tables)

    def watch(self) -> int | None:
        # Not the times of the file: two commits within one tick of the kernel's clock have the same (measured).
        return watch.folder(os.path.dirname(os.path.abspath(self._storage.filename)))

    def keep_open(self) -> int | None:
        if self._ask("pragma journal_mode")[0][0] != "wal":
            return None
        self._storage.close()  # a connection must not be inherited
        return keeper.keep_open(os.path.abspath(self._storage.filename))


class Postgres(_Sql):
    _mark = "%s"
    _blob, _real = "bytea", "double precision"
    _locked = " for update skip locked"
    # A process that is frozen inside a transaction keeps its locks, also those that a web process needs to open its
    # Huey: the server ends its session. Who meets a lock all the same tries again later, and serves others meanwhile.
    _bounds = "set local idle_in_transaction_session_timeout = 5000; set local lock_timeout = 1000"

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with super()._transaction() as cursor:
            cursor.execute(self._bounds)
            yield cursor

    def __init__(self, storage: Any) -> None:
        prefix = storage.table_task.removesuffix("_task")
        own = {"taken": f"{prefix}_qmrunner_taken", "put": f"{prefix}_qmrunner_put"}
        super().__init__(storage, {"task": storage.table_task, "schedule": storage.table_schedule, **own})

    def _add(self, cursor: Any, item: Item) -> None:
        super()._add(cursor, item)
        if item.at is None:  # wakes plain consumers of the same queue
            cursor.execute("select pg_notify(%s, %s)", (self._storage.channel, ""))
