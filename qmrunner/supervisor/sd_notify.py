"""Words to a service manager (systemd's `sd_notify`): ready, alive, stopping. Silent where nobody listens."""

from __future__ import annotations

import os
import socket

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Takes the address out of the environment, so that engines cannot speak in the daemon's name."""

    def __init__(self) -> None:
        self._address = os.environ.pop(VARIABLE, "")

    def say(self, state: str) -> None:
        """`READY=1`, `WATCHDOG=1` or `STOPPING=1`. A manager that does not listen is no reason to stop working."""
        if not self._address:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as talk:
            try:
                talk.sendto(state.encode(), name)
            except OSError:
                return  # it restarts itself, or its queue is full; the next word comes in seconds
