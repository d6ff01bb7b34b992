"""The client of the spawner: requests guardians."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.guardian import spawner
from qmrunner.host.home import serves
from qmrunner.host.sockets import connect_short

_PATIENCE_S, _TRY_EVERY_S, _LOOK_EVERY_S = 30.0, 0.02, 0.5


class NotForked(OSError):
    """The spawner runs, but could not fork."""


class GivenUp(OSError):
    """Its client no longer wants the reply."""


class _Replaced(ConnectionError):
    """Another process has bound its socket at the address: this one's queue is never served."""


def app_socket(app: str) -> str:
    """The socket of an application's host, which is the spawner of its tasks."""
    return f"app-{app}.sock"


class SpawnerClient:
    """Requests guardians from the spawner of this home, or from another one that listens on `name`.

    `patience_s`: how long a reply is waited for. A guardian is waited for as long as the process lives that has to fork
    it: an app host answers when it has imported its application, however long that takes.
    """

    def __init__(self, run_root: Path, name: str = spawner.SOCKET, patience_s: float = _PATIENCE_S) -> None:
        self._run_root = run_root
        self._patience_s = patience_s
        self.name = name

    def spawn_guardian(self, directory: Path, wanted: Callable[[], bool] = lambda: True) -> int:
        """The pid of a new guardian for this attempt's directory, passed as the descriptor that was checked.

        Raises NotOurs, NotForked, GivenUp once it is not `wanted`, and another OSError when there is no spawner. What
        was asked for may still be done: the caller fences the directory.
        """
        folder = AttemptDirectory(directory).open()
        try:
            answer = self.ask({"op": "guard"}, folder, wanted=wanted)
        finally:
            os.close(folder)
        if "error" in answer:
            raise NotForked(str(answer["error"]))
        return int(answer["pid"])

    def wait_for_orphans(self) -> bool:
        """True once no process of a dead guardian is left."""
        return bool(self.ask({"op": "settle"}).get("ok"))

    def ask(self, request: dict[str, Any], *passed: int, wanted: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Send a request with open descriptors, and return its reply. Raises OSError."""
        while True:
            try:
                reply = self._exchange(json.dumps(request).encode(), passed, wanted)
                break
            except _Replaced:
                continue  # no process has read the request
        if not reply:
            raise ConnectionError("the spawner closed the connection")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _exchange(self, request: bytes, passed: tuple[int, ...], wanted: Callable[[], bool] | None) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as client:
            client.settimeout(_LOOK_EVERY_S)
            address = self._address()
            self._connect(client)
            socket.send_fds(client, [request], passed)
            return self._receive(client, address, wanted)

    def _address(self) -> tuple[int, int]:
        """Which socket has the name now."""
        found = (self._run_root / self.name).stat()
        return found.st_dev, found.st_ino

    def _receive(self, client: socket.socket, address: tuple[int, int], wanted: Callable[[], bool] | None) -> bytes:
        """Wait for the reply, but not in the queue of a socket that is not served: a host that did not inherit the
        supervisor's binds its own in its place, and the supervisor keeps the old one open. Raises OSError."""
        end = time.monotonic() + self._patience_s
        while True:
            try:
                return client.recv(65536)
            except TimeoutError:
                if self._address() != address:
                    raise _Replaced from None
                if wanted is not None and not wanted():
                    raise GivenUp from None
                if wanted is not None and serves(self._run_root, self.name):
                    end = time.monotonic() + self._patience_s
                elif time.monotonic() > end:
                    raise

    def _connect(self, client: socket.socket) -> None:
        """Connect, and retry while the spawner's queue is full: the kernel does not wait here. Raises OSError."""
        end = time.monotonic() + self._patience_s
        while True:
            try:
                return connect_short(client, self._run_root, self.name)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(_TRY_EVERY_S)
