"""The queue: Huey, used to wake idle consumer threads. The store alone decides which step runs.

What Huey is for: a process that has made a step ready puts a hint into Huey's queue, and one waiting consumer thread on
any machine of the store takes it and asks the store for a step. Huey supplies the consumer (its threads and their
loop), the SQLite file that holds the hints of one machine, and the task that a hint stands for. Huey does not hold
jobs, results, schedules, retries or locks. A lost hint costs only time: every worker also asks the store at each beat.

A hint has no content, so a process with write access to the queue can wake a worker and do nothing else: the bytes
that it leaves there are never decoded. Because Huey polls less and less often (up to every few seconds), a waiting
thread is also woken by a datagram. A queue file that was deleted or damaged is replaced by a new one.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from huey import storage
from huey.api import Huey
from huey.serializer import Serializer

from qmrunner.errors import NotReadyError, UsageError
from qmrunner.host.sockets import bind_short

WAKE_SOCKET = "wake.sock"
HINT = b"ring"
REDIS_KEY = "huey.redis.qmrunner"
_NAME = "qmrunner"
_POLL_SECONDS = 5.0
_REDIS_READ_S = 1
_REDIS_CONNECT_S = 2


class Wake:
    """Wakes the threads of one process that wait for a hint. Other processes reach it through a datagram socket."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def notify(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    @property
    def count(self) -> int:
        return self._count

    def wait(self, seen: int, timeout_s: float) -> bool:
        """Wait for a `notify` after `count` was `seen`, at most `timeout_s`. False on timeout."""
        with self._condition:
            return self._condition.wait_for(lambda: self._count != seen, timeout_s)


class _Mute(Serializer):  # type: ignore[misc]  # huey has no types
    """Decodes nothing. Huey's own serializer unpickles, and unpickling can execute code from the queue."""

    def _serialize(self, data: Any) -> bytes:
        return HINT

    def _deserialize(self, data: Any) -> None:
        return None


class _Hints(Huey):  # type: ignore[misc]
    """A Huey that takes every element of the queue for the same task, whatever its bytes are."""

    hint_task: Any

    def deserialize_task(self, data: Any) -> Any:
        return self.hint_task.s()


class HintStorage(storage.BlackHoleStorage):  # type: ignore[misc]
    """Huey's storage, reduced to hints. Everything else that Huey stores is neither written nor read.

    So a revocation, schedule, lock or result that another program wrote there has no effect. While the place of the
    hints cannot be used, notifications on this machine still wake a thread.
    """

    blocking = True

    def __init__(self, name: str, *, place: SqliteHints | RedisHints, wake: Wake) -> None:
        super().__init__(name)
        self._place, self._wake, self._unusable = place, wake, False

    def enqueue(self, data: Any, priority: float | None = None) -> None:
        self._place.leave()

    def dequeue(self) -> bytes | None:
        seen = self._wake.count
        try:
            woken = self._place.take(self._wake, seen)
            self._note(None)
        except Exception as problem:  # full, locked, unreachable, refused: the heartbeat finds ready steps
            self._note(problem)
            woken = self._wake.wait(seen, _REDIS_READ_S)
        return HINT if woken else None

    def close(self) -> None:
        self._place.close()

    def _note(self, problem: Exception | None) -> None:
        if (problem is not None) != self._unusable:
            self._unusable = problem is not None
            state = "back" if problem is None else f"lost: {problem}; ready steps are found by the beat"
            logging.getLogger("qmrunner.queue").warning("the queue %s is %s", self._place.where, state)


class SqliteHints(storage.SqliteStorage):  # type: ignore[misc]
    """Hints in Huey's SQLite file. A deleted or damaged file is replaced."""

    def __init__(self, path: str) -> None:
        self.where = f"in {path}"
        self._inode: int | None = None
        try:
            super().__init__(_NAME, filename=path, fsync=False)
            self._inode = self._inode_now()
        except sqlite3.DatabaseError as problem:
            if _is_damage(problem):
                self._discard()
            # Otherwise the file cannot be used now: hints are lost, and the next `take` tries again.

    def leave(self) -> None:
        self.enqueue(HINT)

    def take(self, wake: Wake, seen: int) -> bool:
        """Whether there was a hint. Waits for a notification later than `seen`. Raises sqlite3.Error."""
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
        """Start a new file. The damaged one holds nothing that the store does not know."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{self.filename}{suffix}", f"{self.filename}.damaged{suffix}")
        self.initialize_schema()
        self._inode = self._inode_now()


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
            _NAME, storage_class=HintStorage, serializer=_Mute(), results=False, place=place, wake=self.wake
        )
        self.huey.hint_task = self.huey.task(name="ring")(self._run)

    def _run(self) -> None:
        self._work()

    def on_notify(self, work: Callable[[], None]) -> None:
        """Set the function that a consumer thread calls for each hint."""
        self._work = work

    def notify(self) -> bool:
        """Leave a hint and wake a waiting thread. False when the queue did not take it: a heartbeat will notify."""
        try:
            self.huey.hint_task()
            kept = True
        except Exception:  # any storage failure: a caller must not fail because of a hint
            kept = False
        self.wake.notify()
        send_wake(self._socket_folder)
        return kept


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
            socket_timeout=_REDIS_READ_S + _REDIS_CONNECT_S,
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


def send_wake(run_root: Path) -> None:
    """Wake the worker process of this home, if there is one."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        folder = os.open(run_root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sender.sendto(b"w", f"/proc/self/fd/{folder}/{WAKE_SOCKET}")
        finally:
            os.close(folder)


def listen_for_wake(run_root: Path) -> socket.socket:
    """The datagram socket on which this home's worker process is woken."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    bind_short(listener, run_root, WAKE_SOCKET)
    return listener
