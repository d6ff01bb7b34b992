"""The lasting guardians of an app host (`guardian/lasting.py`): which are free, and how they get an attempt."""

from __future__ import annotations

import socket
from collections.abc import Callable

from qmrunner.guardian.lasting import FREE


class Pool:
    """One channel for each guardian, by its pid. A guardian whose channel is closed has ended, or is about to."""

    def __init__(self) -> None:
        self._channels: dict[int, socket.socket] = {}
        self._free: list[int] = []
        self._child: socket.socket | None = None

    def hand_over(self, directory: int) -> int | None:
        """Give the attempt to a free guardian. Returns its pid; None when there is none."""
        for pid in list(self._channels):
            self._read(pid)
        while self._free:
            pid = self._free.pop()
            try:
                socket.send_fds(self._channels[pid], [b"attempt"], [directory])
            except OSError:
                self._drop(pid)
            else:
                return pid
        return None

    def add(self, fork: Callable[[], int]) -> int:
        """Fork a guardian, which takes `of_child`. Returns its pid."""
        mine, self._child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._child:
            pid = fork()
        self._child = None
        self._channels[pid] = mine
        return pid

    def of_child(self) -> socket.socket:
        """In the forked guardian: its end of the channel. The others are closed: their end must reach their owners."""
        for channel in self._channels.values():
            channel.close()
        assert self._child is not None
        return self._child

    def _read(self, pid: int) -> None:
        while True:
            try:
                data = self._channels[pid].recv(16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data != FREE:
                self._drop(pid)
                return
            self._free.append(pid)

    def _drop(self, pid: int) -> None:
        self._channels.pop(pid).close()
        self._free = [free for free in self._free if free != pid]
