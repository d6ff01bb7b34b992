"""The queue: Huey, carrying hints only. A hint says "something may be ready"; the store says what.

Losing any or all of it loses nothing, and whoever may write to it may ring and nothing more: what was left there is
never looked into, only that it was there. A waiting thread is woken by a datagram, too (Huey's polling backs off to
seconds), and a file that was deleted or damaged is replaced by a fresh one.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qmrunner.errors import NotReadyError, UsageError
from qmrunner.host.sockets import bind_short

# Huey loads the clients of Redis and PostgreSQL wherever they are installed: 17 MiB in every process of the daemon that
# the embedded queue never uses, and a queue on Redis needs nothing of Huey's for it.
_UNUSED = [name for name in ("redis", "psycopg") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]  # an entry of None: as if it were not installed
try:
    from huey import storage
    from huey.api import Huey
    from huey.serializer import Serializer
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

WAKE_SOCKET = "wake.sock"
HINT = b"ring"
REDIS_KEY = "huey.redis.qmrunner"
_NAME = "qmrunner"
_POLL_SECONDS = 5.0
_REDIS_READ_S = 1
_REDIS_CONNECT_S = 2


class Wake:
    """A doorbell for the threads of one process, and, through a datagram socket, for other processes."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def ring(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    @property
    def count(self) -> int:
        return self._count

    def wait(self, seen: int, timeout_s: float) -> bool:
        """Until somebody rang since `seen` was read, at most `timeout_s`."""
        with self._condition:
            return self._condition.wait_for(lambda: self._count != seen, timeout_s)


class _Mute(Serializer):  # type: ignore[misc]  # huey has no types
    """Huey's own unpickles, which runs what the bytes say: with this one nothing that Huey reads becomes a value."""

    def _serialize(self, data: Any) -> bytes:
        return HINT

    def _deserialize(self, data: Any) -> None:
        return None


class _Hints(Huey):  # type: ignore[misc]
    """Huey for which every element of the queue is the same task, whatever its bytes are."""

    ring: Any

    def deserialize_task(self, data: Any) -> Any:
        return self.ring.s()


class Bell(storage.BlackHoleStorage):  # type: ignore[misc]
    """What Huey has for a storage: hints are left and taken; all else that it keeps there is neither written nor read.

    So no revocation, schedule, lock or result that somebody else wrote there is heard of. While the place of the hints
    cannot be used, rings on this machine still count.
    """

    blocking = True

    def __init__(self, name: str, *, place: SqliteHints | RedisHints, wake: Wake) -> None:
        super().__init__(name)
        self._place, self._wake, self._lost = place, wake, False

    def enqueue(self, data: Any, priority: float | None = None) -> None:
        self._place.leave()

    def dequeue(self) -> bytes | None:
        seen = self._wake.count
        try:
            rung = self._place.take(self._wake, seen)
            self._note(None)
        except Exception as problem:  # full, locked, unreachable, refused, of another type: the beat rings all the same
            self._note(problem)
            rung = self._wake.wait(seen, _REDIS_READ_S)
        return HINT if rung else None

    def close(self) -> None:
        self._place.close()

    def _note(self, problem: Exception | None) -> None:
        if (problem is not None) != self._lost:
            self._lost = problem is not None
            told = "back" if problem is None else f"lost: {problem}; ready steps are found by the beat"
            logging.getLogger("qmrunner.queue").warning("the queue %s is %s", self._place.where, told)


class SqliteHints(storage.SqliteStorage):  # type: ignore[misc]
    """Hints in Huey's SQLite file; one that is deleted or damaged is replaced."""

    def __init__(self, path: str) -> None:
        self.where = f"in {path}"
        self._inode: int | None = None
        try:
            super().__init__(_NAME, filename=path, fsync=False)
            self._inode = self._inode_now()
        except sqlite3.DatabaseError as problem:
            if _is_damage(problem):
                self._discard()
            # Otherwise it cannot be used now: hints get lost, and the next look tries again.

    def leave(self) -> None:
        self.enqueue(HINT)

    def take(self, wake: Wake, seen: int) -> bool:
        """Whether there was a hint; waits for the doorbell to be rung since `seen`. Raises sqlite3.Error."""
        try:
            self._replace_if_broken()
            if self.dequeue() is not None:
                return True
            wake.wait(seen, _POLL_SECONDS)
            return self.dequeue() is not None
        except sqlite3.DatabaseError as problem:
            if not _is_damage(problem):
                raise
            self._discard()
            return False

    def _inode_now(self) -> int | None:
        try:
            return os.stat(self.filename).st_ino
        except FileNotFoundError:
            return None

    def _replace_if_broken(self) -> None:
        if self._inode is None or self._inode_now() != self._inode:
            self.close()
            self.initialize_schema()
            self._inode = self._inode_now()

    def _discard(self) -> None:
        """A damaged queue holds nothing that the store does not know: start a fresh one."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{self.filename}{suffix}", f"{self.filename}.damaged{suffix}")
        self.initialize_schema()
        self._inode = self._inode_now()


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    """Whether the file is no queue (any more), as opposed to locked, unwritable or on a full disk."""
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
        """Whether there was a hint within a second, or a ring on this machine since `seen`: a server that lost it looks
        like one that never had it."""
        return self._server.brpop(REDIS_KEY, timeout=_REDIS_READ_S) is not None or wake.count != seen

    def close(self) -> None:
        self._server.connection_pool.disconnect()


class Queue:
    """The Huey instance and its one task."""

    def __init__(self, url: str, run_root: Path) -> None:
        self.wake = Wake()
        self._socket_folder = run_root
        self._work: Callable[[], None] = lambda: None
        place = SqliteHints(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else RedisHints(url)
        self.huey: Any = _Hints(
            _NAME, storage_class=Bell, serializer=_Mute(), results=False, place=place, wake=self.wake
        )
        self.huey.ring = self.huey.task(name="ring")(self._run)

    def _run(self) -> None:
        self._work()

    def on_ring(self, work: Callable[[], None]) -> None:
        """What a consumer thread does with a hint."""
        self._work = work

    def ring(self) -> bool:
        """Leave a hint and wake whoever waits. False when the queue did not take it: the sweep will ring again."""
        try:
            self.huey.ring()
            kept = True
        except Exception:  # any storage failure at all: a hint is never worth failing for
            kept = False
        self.wake.ring()
        send_wake(self._socket_folder)
        return kept


def _redis_pool(url: str) -> Any:
    """Connections that notice when the server is gone. What the URL says itself is left as it is."""
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
            socket_timeout=_REDIS_READ_S + _REDIS_CONNECT_S,
            socket_keepalive=True,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 0),  # a hint is not worth waiting for: the beat rings again
        )
    except (ValueError, TypeError) as problem:
        raise UsageError(
            "queue_url",
            "QMRUNNER_QUEUE_URL is not a URL of a Redis server",
            evidence=str(problem),
            remedy="use redis://user:password@host:6379/0, or rediss://… with ?ssl_ca_certs=/path/of/ca.pem",
        ) from None


def send_wake(run_root: Path) -> None:
    """Wake the consumer of this home, if there is one."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        folder = os.open(run_root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sender.sendto(b"w", f"/proc/self/fd/{folder}/{WAKE_SOCKET}")
        finally:
            os.close(folder)


def listen_for_wake(run_root: Path) -> socket.socket:
    """The datagram socket on which this home's consumer is woken."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    bind_short(listener, run_root, WAKE_SOCKET)
    return listener
