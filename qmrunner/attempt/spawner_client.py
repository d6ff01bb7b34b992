"""Asking the spawner for guardians."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from qmrunner.attempt.directory import AttemptFolder
from qmrunner.guardian import spawner
from qmrunner.host.sockets import connect_short

_PATIENCE_S, _TRY_EVERY_S = 30.0, 0.02


class NotForked(OSError):
    """The spawner is there, and the machine gives it no further process."""


class SpawnerClient:
    """Asks the spawner of this home for guardians."""

    def __init__(self, run_root: Path) -> None:
        self._run_root = run_root

    def guard(self, directory: Path) -> int:
        """The pid of a new guardian for this attempt's directory, which is handed over as it was judged.

        Raises NotOurs, NotForked, and another OSError when there is no spawner.
        """
        folder = AttemptFolder(directory).open()
        try:
            answer = self._ask({"op": "guard"}, folder)
        finally:
            os.close(folder)
        if "error" in answer:
            raise NotForked(str(answer["error"]))
        return int(answer["pid"])

    def settle(self) -> bool:
        """True once no process is left that belonged to a dead guardian."""
        return bool(self._ask({"op": "settle"}).get("ok"))

    def _ask(self, request: dict[str, Any], *passed: int) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as client:
            client.settimeout(_PATIENCE_S)
            self._connect(client)
            socket.send_fds(client, [json.dumps(request).encode()], passed)
            reply = client.recv(65536)
        if not reply:
            raise ConnectionError("the spawner closed the connection")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _connect(self, client: socket.socket) -> None:
        """Wait while the queue of the spawner is full, which the kernel does not do. Raises OSError."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return connect_short(client, self._run_root, spawner.SOCKET)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(_TRY_EVERY_S)
