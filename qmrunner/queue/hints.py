"""Where hints lie: a SQLite file on one machine, or a list on a Redis server. And `Queue`, which leaves them.

Huey polls less and less often (up to every few seconds), so a waiting thread is also woken by a datagram. A queue file
that was deleted or damaged is replaced by a new one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from qmrunner.errors import NotReadyError, UsageError
from qmrunner.queue.wake import Wake, send_wake

HINT = b"ring"
NAME = "qmrunner"
READ_S = 1
REDIS_KEY = "huey.redis.qmrunner"
_MOST_HINTS = 1000  # of those on Redis: each wakes a thread, and any client can add millions
_POLL_SECONDS = 5.0
_BUSY_S = 5.0
_REDIS_CONNECT_S = 2
# The table that Huey made for earlier versions: their hints are heard, and they hear ours.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS task (id INTEGER NOT NULL PRIMARY KEY, queue TEXT NOT NULL, data BLOB NOT NULL, "
    "priority REAL NOT NULL DEFAULT 0.0)"
)


class Queue:
    """Leaves hints, and gives the worker the Huey whose consumer takes them."""

    def __init__(self, url: str, run_root: Path) -> None:
        self.wake = Wake()
        self._socket_folder = run_root
        self._work: Callable[[], None] = lambda: None
        self._place = SqliteHints(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite") else RedisHints(url)

    @cached_property
    def huey(self) -> Any:
        """The Huey of this queue; importing it takes a quarter of a second."""
        from qmrunner.queue.consumer import huey_of

        return huey_of(self._place, self.wake, lambda: self._work())

    def on_notify(self, work: Callable[[], None]) -> None:
        """Set the function that a consumer thread calls for each hint."""
        self._work = work

    def notify(self) -> bool:
        """Leave a hint and wake a waiting thread. False when the queue did not take it: a heartbeat will notify."""
        try:
            self._place.leave()
            kept = True
        except Exception:  # any storage failure: a caller must not fail because of a hint
            kept = False
        self.wake.notify()
        send_wake(self._socket_folder)
        return kept

    def close(self) -> None:
        self._place.close()


class SqliteHints:
    """Hints in a SQLite file. A deleted or damaged file is replaced. Any thread may call any method."""

    def __init__(self, path: Path) -> None:
        self.where = f"in {path}"
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        try:
            self._create()
        except sqlite3.DatabaseError as problem:
            if _is_damage(problem):
                self._discard()
            # Otherwise the file cannot be used now: hints are lost, and the next `take` tries again.

    def leave(self) -> None:
        with self._lock:
            self._open().execute("INSERT INTO task (queue, data, priority) VALUES (?, ?, 0)", (NAME, HINT))

    def take(self, wake: Wake, seen: int) -> bool:
        """Whether there was a hint. Waits for a notification later than `seen`. Raises sqlite3.Error."""
        try:
            self._replace_if_broken()
            if self._take_one():
                return True
            wake.wait(seen, _POLL_SECONDS)
            return self._take_one()
        except sqlite3.DatabaseError as problem:
            if not _is_damage(problem):
                raise
            self._discard()
            return False

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _take_one(self) -> bool:
        with self._lock:
            connection = self._open()
            # Read first: a DELETE takes the write lock even where there is nothing.
            if connection.execute("SELECT 1 FROM task WHERE queue = ? LIMIT 1", (NAME,)).fetchone() is None:
                return False
            taken = connection.execute(
                "DELETE FROM task WHERE id = (SELECT id FROM task WHERE queue = ? LIMIT 1)", (NAME,)
            )
            return taken.rowcount == 1

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = wal")
                connection.execute("PRAGMA synchronous = off")  # a hint may be lost
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _create(self) -> None:
        with self._lock:
            self.close()
            self._open().execute(_SCHEMA)
            self.close()  # a process that only leaves hints may fork before it does
            self._inode = self._inode_now()

    def _inode_now(self) -> int | None:
        try:
            return os.stat(self._path).st_ino
        except FileNotFoundError:
            return None

    def _replace_if_broken(self) -> None:
        with self._lock:
            if self._inode is None or self._inode_now() != self._inode:
                self._create()

    def _discard(self) -> None:
        """Start a new file. The damaged one holds nothing that the store does not know."""
        with self._lock:
            self.close()
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.rename(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
            self._create()


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    """Whether the file is not (or no longer) a queue, as opposed to locked, unwritable or on a full disk."""
    if not isinstance(problem, sqlite3.OperationalError):
        return True
    return any(words in str(problem) for words in ("no such table", "no such column", "disk I/O error"))


class RedisHints:
    """Hints in a list on a Redis server. Every method may raise redis.RedisError or OSError."""

    where = "on Redis"

    def __init__(self, url: str) -> None:
        pool = _redis_pool(url)
        import redis

        self._server: Any = redis.Redis(connection_pool=pool)

    def leave(self) -> None:
        self._server.lpush(REDIS_KEY, HINT)

    def take(self, wake: Wake, seen: int) -> bool:
        """Whether there was a hint within a second, or a notification on this machine after `seen`: the server may have
        lost that hint."""
        if self._server.brpop(REDIS_KEY, timeout=READ_S) is None:
            return wake.count != seen
        self._server.ltrim(REDIS_KEY, 0, _MOST_HINTS - 1)
        return True

    def close(self) -> None:
        self._server.connection_pool.disconnect()


def _redis_pool(url: str) -> Any:
    """Connections that notice when the server is gone. Options in the URL take precedence."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ModuleNotFoundError as missing:
        raise NotReadyError(
            "queue_driver_missing",
            "the client for a queue on Redis is not installed",
            evidence=str(missing),
            remedy="install the optional part: `pip install 'qmrunner[redis]'`",
        ) from None
    try:
        return redis.ConnectionPool.from_url(
            url,
            socket_connect_timeout=_REDIS_CONNECT_S,
            socket_timeout=READ_S + _REDIS_CONNECT_S,
            socket_keepalive=True,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 0),  # do not wait for a hint to be stored: the heartbeat notifies again
        )
    except (ValueError, TypeError) as problem:
        raise UsageError(
            "queue_url",
            "QMRUNNER_QUEUE_URL is not a URL of a Redis server",
            evidence=str(problem),
            remedy="use redis://user:password@host:6379/0, or rediss://… with ?ssl_ca_certs=/path/of/ca.pem",
        ) from None
