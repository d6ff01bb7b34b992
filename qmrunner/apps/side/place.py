"""The place of an app host: its listening socket and the pipe from the supervisor, wherever in the command it runs.

A launcher may have closed the descriptors that the supervisor passed (`subprocess.Popen` does), or have given its
child another standard input.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import stat
import time
from typing import Any

from qmrunner.apps.side import inheritance
from qmrunner.guardian import process_tree

_LEAVING_S = 3.0  # for the host of a supervisor that was killed to leave
_lock = -1  # the descriptor of the lock's file: held by this process, and not by forks of it


def take(spec: dict[str, Any]) -> socket.socket:
    """The listener. Raises SystemExit when another consumer of the same command has it."""
    global _lock
    _lock = os.open(f"{spec['socket']}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _LEAVING_S
    while not _lock_it(_lock):
        if time.monotonic() > end:
            raise SystemExit(
                "qmrunner: this command runs more than one Huey consumer, of which one is served: give each its own"
                " section with its own command in apps.toml"
            )
        time.sleep(0.05)
    top, pipe = _top(spec["supervisor"]), not stat.S_ISFIFO(os.fstat(0).st_mode)
    if pipe or top != os.getpid():
        _watch(spec["supervisor"], top, pipe=pipe)
    return _inherited(spec["listener"]) or _bound(spec["socket"])


def _lock_it(file: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _inherited(number: int) -> socket.socket | None:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return None
    except OSError:
        return None
    found = socket.socket(fileno=number)
    if found.family == socket.AF_UNIX and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        os.set_inheritable(number, False)
        return found
    found.detach()
    return None


def _bound(path: str) -> socket.socket:
    folder, name = os.path.split(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.unlink(path)
        listener.bind(f"/proc/self/fd/{handle}/{name}")  # a socket address holds 107 bytes
    finally:
        os.close(handle)
    listener.listen(64)
    return listener


def _watch(supervisor: int, top: int | None, *, pipe: bool) -> None:
    """Fork a process that ends `top`, the process that the supervisor restarts, when this one dies; with `pipe` fd 0
    becomes a pipe that ends with the supervisor."""
    me = os.getpid()
    out, into = os.pipe()
    if os.fork() == 0:
        try:
            process_tree.name_process(process_tree.WATCHER_NAME)
            poller = select.poll()
            host = os.pidfd_open(me)
            for pidfd in (host, os.pidfd_open(supervisor)):
                poller.register(pidfd, select.POLLIN)
            os.setsid()
            for number in inheritance.descriptors() - {into, host, pidfd}:
                os.close(number)
            if host in dict(poller.poll()) and top is not None:
                os.kill(top, signal.SIGTERM)
        finally:
            os._exit(0)
    os.close(into)
    if pipe:
        os.dup2(out, 0)
    os.close(out)


def _top(supervisor: int) -> int | None:
    """The ancestor of this process that is a child of the supervisor."""
    pid = os.getpid()
    while pid > 1:
        found = process_tree.stat_of(pid)
        if found is None:
            return None
        if found.ppid == supervisor:
            return pid
        pid = found.ppid
    return None
