"""What forks of the app host must not share: threads, which a fork does not have, and connections, which it has twice.

Huey's worker processes run the startup hooks after their fork, and its threads share all that the application has
opened. A task that is forked from the host would wait for a thread that is not there, or speak into the connection of
another task.
"""

from __future__ import annotations

import gc
import os
import socket
import stat
import sys
import threading
from typing import Any

from huey.api import Huey

from qmrunner.apps.side import inheritance

# Classes whose connections can be closed: the next use opens another. By module, class and method.
_REOPENED = (
    ("redis.connection", "ConnectionPool", "disconnect"),
    ("redis.connection", "BlockingConnectionPool", "disconnect"),
    ("sqlalchemy.engine.base", "Engine", "dispose"),
)
_hueys: list[Any] = []
_OWN_THREADS = ("gevent", "pydevd")  # libraries that know forks: they start their threads again
_POLLERS = ("anon_inode:[event", "anon_inode:inotify")


def threads() -> set[str]:
    """Names of the application's threads."""
    return {
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not type(thread).__module__.startswith(_OWN_THREADS)
    }


def descriptors() -> dict[int, str]:
    """Open descriptors that only one process may use: connections, pipes, files open for reading and writing."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            if _is_private(int(name), target):
                found[int(name)] = target
        except OSError:
            continue  # the descriptor of the listing
    return found


def _is_private(number: int, target: str) -> bool:
    if number <= 2:
        return False
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        with open(f"/proc/self/fdinfo/{number}") as file:
            flags = int(file.read().split("flags:")[1].split()[0], 8)
        return flags & os.O_ACCMODE == os.O_RDWR and not target.endswith(" (deleted)")
    if stat.S_ISSOCK(mode):
        return not is_listening(number)
    if target.startswith(_POLLERS):
        return "gevent" not in sys.modules  # its loop is made again in a fork
    return stat.S_ISFIFO(mode)


def is_listening(number: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        return False
    with socket.socket(fileno=os.dup(number)) as found:
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def is_local(number: int) -> bool:
    """Whether this socket is one of the machine's own, not of the network."""
    with socket.socket(fileno=os.dup(number)) as found:
        return found.family == socket.AF_UNIX


def has_server(own: set[int]) -> bool:
    """Whether the application listens: a command that is executed again could not."""
    return any(number > 2 and is_listening(number) for number in inheritance.descriptors() - own)


def hueys() -> list[Any]:
    """All Huey objects of the application: a task may use the queues and the locks of others than its own. Found once:
    the collector does not list what the host has frozen before it forks."""
    if not _hueys:
        kinds = _with_subclasses(Huey)
        _hueys.extend(found for found in gc.get_objects() if type(found) in kinds and hasattr(found, "storage"))
    return _hueys


def _with_subclasses(kind: type[Any]) -> set[type[Any]]:
    kinds = {kind}
    for sub in kind.__subclasses__():
        kinds |= _with_subclasses(sub)
    return kinds


def close_connections() -> None:
    """Close what opens again by itself, as servers that fork do before the fork."""
    _close_django()
    for huey in hueys():
        huey.storage.close()
    kinds: dict[type, str] = {}
    for module, name, method in _REOPENED:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None:
            kinds[kind] = method
    for found in gc.get_objects() if kinds else ():
        if type(found) in kinds:
            try:
                getattr(found, kinds[type(found)])()
            except Exception:
                continue  # a connection of asyncio: it can only be closed in its loop


def _close_django() -> None:
    for module, name in (("django.db", "connections"), ("django.core.cache", "caches")):
        handler: Any = getattr(sys.modules.get(module), name, None)
        try:
            if handler is not None:
                handler.close_all()
        except Exception:
            continue  # Django is imported, and not configured
