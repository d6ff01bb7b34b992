"""Unix sockets in folders with long paths: a socket address holds 107 bytes."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


def bind_short(listener: socket.socket, folder: Path, name: str) -> None:
    """Bind in a folder whose path may exceed the 107 bytes of a socket address."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=handle)
        listener.bind(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)


def listen_short(folder: Path, name: str) -> socket.socket:
    """A listening socket for requests of one message each. Its address outlives the process that serves it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    bind_short(listener, folder, name)
    listener.listen(64)
    return listener


def connect_short(client: socket.socket, folder: Path, name: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)
