"""Connections to the store. A write transaction on SQLite is always BEGIN IMMEDIATE.

A deferred BEGIN that upgrades to a write fails at once with "database is locked", whatever the time-out (783 of 3,600
updates measured); IMMEDIATE waits for the lock. WAL with synchronous=FULL: committed data survives a power loss.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, exc
from sqlalchemy.engine import make_url

from qmrunner.errors import NotReadyError, UsageError
from qmrunner.store import postgres
from qmrunner.store.rows import RowUnreadable
from qmrunner.store.sqlite_filesystems import refuse_unsafe

_DECODE = json.JSONDecoder().raw_decode


class StoreUnavailable(NotReadyError):
    """The store is not available now: locked for too long, unreachable, or its disk is full. Retry later."""


class Store:
    """One database, shared by the threads of one process. Never used across a fork.

    `connections` is how many threads may use a server at the same time, `busy_seconds` how long a thread waits for a
    lock.
    """

    def __init__(self, url: str, *, busy_seconds: float = 30.0, create: bool = True, connections: int = 5) -> None:
        self._parsed = _parse(url)
        self.url = self._parsed.render_as_string(hide_password=True)  # without the password
        self.is_sqlite = self._parsed.get_backend_name() == "sqlite"
        self.path: Path | None = None
        self._inode: int | None = None
        self._clock: postgres.Clock | None = None
        if self.is_sqlite:
            self._check_sqlite(create)
            self.engine = create_engine(url, connect_args={"timeout": busy_seconds}, json_deserializer=_decoded)
            event.listen(self.engine, "do_connect", self._before_connect)
            event.listen(self.engine, "connect", partial(_configure_sqlite, busy_seconds))
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            if self._parsed.drivername == "postgresql":
                self._parsed = self._parsed.set(drivername="postgresql+psycopg")
            self.engine = postgres.engine(self._parsed, busy_seconds, connections)
            self._clock = postgres.Clock(self.engine)
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(qmrunner_read=True, **snapshot)

    def _before_connect(self, *_: Any) -> None:
        """Check first: a new connection to a replaced file would write the old file's WAL into it."""
        self.check_file()

    def _check_sqlite(self, create: bool) -> None:
        self.path = _file(self._parsed)
        refuse_unsafe(self.path)
        if not create and not self.path.exists():
            raise NotReadyError(
                "store_missing",
                f"there is no store at {self.path}",
                remedy="start `qmrunner run` or submit a job with the same QMRUNNER_HOME first",
            )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: durable when the block ends without an exception, else rolled back."""
        with _translated(self), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent snapshot for reading; never waits for writers."""
        with _translated(self), self._reader.begin() as connection:
            yield connection

    def now(self) -> float:
        """The time for rows, Unix seconds: the server's, so that machines whose clocks differ agree on it."""
        return time.time() if self._clock is None else self._clock.now()

    def check_file(self) -> None:
        """Raise NotReadyError if the database file was deleted or replaced while open: writes would be lost."""
        if self.path is None:
            return
        try:
            inode = os.stat(self.path).st_ino
        except OSError:
            inode = None  # missing or unreachable: SQLite's own error distinguishes them
        if self._inode is None:
            self._inode = inode  # None until the first connection creates the file
        elif inode != self._inode:
            raise NotReadyError(
                "store_replaced",
                f"the store {self.path} was deleted or replaced while it was in use",
                remedy="put the file back, or restore a backup; then start the daemon again",
            )

    def close(self) -> None:
        self.engine.dispose()


def file_of(url: str) -> Path | None:
    """The file of a SQLite store, None for a server. Raises QmrunnerError if it is not a URL or names no file."""
    parsed = _parse(url)
    return _file(parsed) if parsed.get_backend_name() == "sqlite" else None


def _file(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise NotReadyError("store_url", "the SQLite store needs a file", remedy="use sqlite:////absolute/path.db")
    return Path(url.database)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() in ("sqlite", "postgresql"):
            return parsed
    except (exc.ArgumentError, ValueError):
        pass  # the parser's message may contain a piece of the password
    raise _wrong_url("QMRUNNER_STORE_URL is not a database URL")


def _wrong_url(message: str, evidence: str | None = None) -> UsageError:
    remedy = "use sqlite:////absolute/path.db or postgresql://user@host:5432/name"
    return UsageError("store_url", message, evidence=evidence, remedy=remedy)


@contextmanager
def _translated(store: Store) -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreUnavailable(
            "store_unavailable",
            "all connections to the store are in use, and none became free in time",
            evidence=str(error).splitlines()[0],
            remedy="check the load of the database server; waiting work resumes by itself",
        ) from error
    except exc.DatabaseError as error:
        text = str(error.orig)
        if "malformed" in text or "not a database" in text:
            raise NotReadyError(
                "store_corrupt",
                f"the store is damaged and was not changed: {store.path or store.url}",
                evidence=text,
                remedy="stop the daemon, keep a copy of the file, and restore a backup or run `sqlite3 FILE .recover`",
            ) from error
        if "connection option" in text or "connection string" in text:
            raise _wrong_url("QMRUNNER_STORE_URL has a parameter that the driver cannot use", text) from error
        if isinstance(error, exc.OperationalError | exc.InternalError):
            raise StoreUnavailable(
                "store_unavailable",
                "the store does not answer",
                evidence=text.splitlines()[0] if text else None,
                remedy=_unavailable_remedy(text, store),
            ) from error
        raise


def _unavailable_remedy(text: str, store: Store) -> str:
    if "readonly" in text or "unable to open" in text:
        return f"make {store.path.parent if store.path else 'the store'} writable for this user"
    if "full" in text:
        return "free space on the store's disk"
    if "locked" in text:
        return "another program holds the database; wait, or end it"
    if "password" in text:
        return "the password is in ~/.pgpass, in the URL, or in a file that QMRUNNER_STORE_PASSWORD_FILE names"
    return "check that the database server runs and that QMRUNNER_STORE_URL is right"


def _decoded(text: str) -> Any:
    """The value of a JSON column, as `json.loads` gives it: each step has six of them, most of them empty."""
    if text == "{}":
        return {}
    try:
        return _DECODE(text)[0]
    except (TypeError, ValueError) as problem:
        raise RowUnreadable("a JSON column of the store", f"{str(text)[:60]!r}: {problem}") from problem


def _configure_sqlite(busy_seconds: float, connection: Any, _record: Any) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None  # `_begin_sqlite` begins transactions
    cursor = connection.cursor()
    _turn_on_wal(cursor, time.monotonic() + busy_seconds)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _turn_on_wal(cursor: sqlite3.Cursor, deadline: float) -> None:
    """Retries: of several first connections to a new file SQLite lets one convert it and refuses the others at once."""
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or time.monotonic() >= deadline:
                raise
        time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    read = connection.get_execution_options().get("qmrunner_read", False)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")
