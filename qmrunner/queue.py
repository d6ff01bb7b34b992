"""The queue: Huey, carrying hints only. A hint says "something may be ready"; the store says what.

Losing any or all of it loses nothing. SQLite storage is Huey's own, with two additions: a waiting dequeue that is
woken by a datagram (Huey's polling backs off to seconds), and a file that was deleted or damaged is replaced by a
fresh one.
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
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from qmrunner.errors import NotReadyError, UsageError

# Huey loads the clients of Redis and PostgreSQL wherever they are installed: 17 MiB in every process of the daemon that
# the embedded queue never uses. `_redis_storage` loads what a Redis queue needs.
_UNUSED = [name for name in ("redis", "psycopg") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]  # an entry of None: as if it were not installed
try:
    from huey import storage
    from huey.api import Huey
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

WAKE_SOCKET = "wake.sock"
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


class WakingSqliteStorage(storage.SqliteStorage):  # type: ignore[misc]  # huey has no types
    """Huey's SQLite storage with a dequeue that waits for the doorbell instead of being polled."""

    blocking = True

    def __init__(self, *args: Any, wake: Wake, **kwargs: Any) -> None:
        self._wake = wake
        self._inode: int | None = None
        try:
            super().__init__(*args, **kwargs)
            self._inode = self._inode_now()
        except sqlite3.DatabaseError as problem:
            if _is_damage(problem):
                self._discard()
            # Otherwise it cannot be used now: hints get lost, and the next look tries again.

    def dequeue(self) -> Any:
        seen = self._wake.count
        try:
            self._replace_if_broken()
            data = super().dequeue()
            if data is None:
                self._wake.wait(seen, _POLL_SECONDS)
                data = super().dequeue()
        except sqlite3.DatabaseError as problem:
            if not _is_damage(problem):
                raise
            self._discard()
            return None
        return data

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


class Queue:
    """The Huey instance and its one task."""

    def __init__(self, url: str, run_root: Path) -> None:
        self.wake = Wake()
        self._socket_folder = run_root
        self._work: Callable[[], None] = lambda: None
        if url.startswith("sqlite"):
            path = url.removeprefix("sqlite:///")
            self.huey: Any = Huey(
                "qmrunner", storage_class=WakingSqliteStorage, filename=path, wake=self.wake, results=False, fsync=False
            )
        else:
            self.huey = Huey(
                "qmrunner", storage_class=_waking_redis_storage(), results=False,
                wake=self.wake, work=self._run, connection_pool=_redis_pool(url), read_timeout=_REDIS_READ_S,
            )  # fmt: skip
        self._task = self.huey.task(name="ring")(self._run)

    def _run(self) -> None:
        self._work()

    def on_ring(self, work: Callable[[], None]) -> None:
        """What a consumer thread does with a hint."""
        self._work = work

    def ring(self) -> bool:
        """Leave a hint and wake whoever waits. False when the queue did not take it: the sweep will ring again."""
        try:
            self._task()
            kept = True
        except Exception:  # any storage failure at all: a hint is never worth failing for
            kept = False
        self.wake.ring()
        send_wake(self._socket_folder)
        return kept


def _waking_redis_storage() -> Any:
    """Huey's Redis storage, with its client; while Redis does not answer, rings on this machine still count."""
    loaded = storage if storage.Redis is not None else _storage_with_redis()

    class WakingRedisStorage(loaded.RedisStorage):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, wake: Wake, work: Callable[[], None], **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._wake, self._work, self._lost = wake, work, False

        def dequeue(self) -> Any:
            seen = self._wake.count
            try:
                data = super().dequeue()
                self._note(lost=False)
            except (loaded.ConnectionError, loaded.TimeoutError, OSError) as problem:
                self._note(lost=True, problem=problem)
                self._wake.wait(seen, _REDIS_READ_S)
                data = None
            # A server that is cut off looks like one that has nothing: with neither is a ring to be missed. Huey would
            # ask the server about the task, so it is done here.
            if data is None and self._wake.count != seen:
                self._work()
            return data

        def _note(self, *, lost: bool, problem: Exception | None = None) -> None:
            if lost != self._lost:
                self._lost = lost
                told = f"lost: {problem}; ready steps are found by the beat" if lost else "back"
                logging.getLogger("qmrunner.queue").log(logging.WARNING, "the queue on Redis is %s", told)

    return WakingRedisStorage


@cache
def _storage_with_redis() -> Any:
    """Huey's module once more, with the client now: the classes of the first one stay as they are."""
    spec = spec_from_file_location("huey.storage_with_redis", storage.__file__)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def bind_short(listener: socket.socket, folder: Path, name: str) -> None:
    """Bind in a folder whose path may be longer than the 107 bytes that a socket's address holds."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=handle)
        listener.bind(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)


def connect_short(client: socket.socket, folder: Path, name: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)
