"""Wakes the threads of the worker process that wait for a hint. Other processes reach it through a datagram socket."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from qmrunner.host.sockets import bind_short

_SOCKET = "wake.sock"


class Wake:
    """Wakes the threads of one process."""

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


def send_wake(run_root: Path) -> None:
    """Wake the worker process of this home, if there is one."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        folder = os.open(run_root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sender.sendto(b"w", f"/proc/self/fd/{folder}/{_SOCKET}")
        finally:
            os.close(folder)


def listen_for_wake(run_root: Path) -> socket.socket:
    """The datagram socket on which this home's worker process is woken."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    bind_short(listener, run_root, _SOCKET)
    return listener
