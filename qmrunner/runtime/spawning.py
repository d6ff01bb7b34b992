"""Asking the spawner for guardians."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from qmrunner.queue import connect_short
from qmrunner.runtime import spawner


class SpawnerClient:
    """Asks the spawner of this home for guardians."""

    def __init__(self, run_root: Path) -> None:
        self._run_root = run_root

    def guard(self, directory: Path) -> int:
        """The pid of a new guardian for this directory. Raises OSError when there is no spawner."""
        return int(self._ask({"op": "guard", "directory": str(directory)})["pid"])

    def settle(self) -> bool:
        """True once no process is left that belonged to a dead guardian."""
        return bool(self._ask({"op": "settle"}).get("ok"))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as client:
            client.settimeout(30.0)
            connect_short(client, self._run_root, spawner.SOCKET)
            client.send(json.dumps(request).encode())
            reply = client.recv(65536)
        if not reply:
            raise ConnectionError("the spawner closed the connection")
        answer: dict[str, Any] = json.loads(reply)
        return answer
