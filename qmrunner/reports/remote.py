"""Asks this home's worker for a report, so that a short command does not load the libraries of the store.

The worker answers its own user and root only, and only a program with the same code, store and folders: its answer is
the report that the command would have made. Without an answer in time the command reads the store itself.
"""

from __future__ import annotations

import json
import os
import socket
import time
from binascii import crc32
from pathlib import Path
from typing import Any

from qmrunner import masking
from qmrunner.guardian import peers
from qmrunner.host.sockets import connect_short
from qmrunner.settings import Settings

SOCKET = "reports.sock"
KEY = "reports.key"  # a confined engine is this user, too, and may reach sockets, but reads no file of the home
# A worker answers within a few milliseconds; this is what a frozen one adds to a command.
ANSWER_S = 0.25
END = b"\n"  # of a question and of an answer, which have no other: a part of one is no answer
_PACKAGE = Path(__file__).resolve().parent.parent
_ROOMS = ("", "model", "reports", "store", "workflows")


def ask(settings: Settings, name: str, job: str | None = None, step: str | None = None) -> Any | None:
    """The report that `named.make` makes of these; None when the worker gives no answer in time."""
    deadline = time.monotonic() + ANSWER_S
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as worker:
            worker.settimeout(ANSWER_S)
            connect_short(worker, settings.run_root, SOCKET)
            peer = peers.peer_of(worker)
            if peer is None or not peers.is_ours(peer[1]):
                return None
            key = (settings.run_root / KEY).read_text()
            question = {"key": key, "asker": asker(settings, code()), "name": name, "job": job, "step": step}
            worker.sendall(json.dumps(question).encode() + END)
            return json.loads(received(worker, deadline))
    except (OSError, ValueError):
        return None


def received(sender: socket.socket, deadline: float, most: int = 1 << 30) -> bytes:
    """A question or an answer, with its end. Raises OSError: TimeoutError at the deadline (monotonic), ConnectionError
    for one that is incomplete or longer than `most` bytes."""
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(END):
        sender.settimeout(max(0.001, deadline - time.monotonic()))
        part = sender.recv(1 << 16)
        size += len(part)
        if not part or size > most:
            raise ConnectionError
        if time.monotonic() > deadline:
            raise TimeoutError
        parts.append(part)
    return b"".join(parts)


def asker(settings: Settings, of: str) -> dict[str, Any]:
    """Everything that a report depends on beside the store's contents, as JSON; `of` is the code of the program."""
    server = not settings.store.startswith("sqlite")
    folders = (settings.home, settings.jobs_root, settings.scratch_root, settings.logs_root)
    return {
        "code": of,
        "store": masking.masked_url(settings.store) if server else settings.store,
        # Defaults of the driver of PostgreSQL, but no password.
        "server": {name: value for name, value in os.environ.items() if name.startswith("PG") and name != "PGPASSWORD"}
        if server
        else {},
        "artifacts": masking.masked_url(settings.artifacts) if settings.artifacts else None,
        "lease_s": settings.lease_seconds,
        "remedies": settings.remedies,
        "folders": [[str(folder), *_place(folder)] for folder in folders],
    }


def _place(folder: Path) -> tuple[int, int] | tuple[()]:
    """Device and inode: a container may have another folder at the same path."""
    try:
        found = os.stat(folder)
    except OSError:
        return ()
    return found.st_dev, found.st_ino


def code() -> str:
    """The files of the code that makes reports, with sizes and times: other code may report other fields."""
    seen = [
        f"{room}/{file.name} {found.st_size} {found.st_mtime_ns}"
        for room in _ROOMS
        for file in sorted(os.scandir(_PACKAGE / room), key=lambda file: file.name)
        if file.name.endswith(".py")
        for found in [file.stat()]
    ]
    return f"{_PACKAGE} {len(seen)} {crc32(' '.join(seen).encode()):08x}"
