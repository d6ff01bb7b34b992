"""Notifications to a service manager (systemd's `sd_notify`): ready, alive, stopping. Does nothing without one."""

from __future__ import annotations

import os
import socket

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Removes the address from the environment, so that engines cannot notify in the daemon's name."""

    def __init__(self) -> None:
        self._address = os.environ.pop(VARIABLE, "")

    def send(self, state: str) -> None:
        """`READY=1`, `WATCHDOG=1` or `STOPPING=1`. Ignores a manager that does not listen."""
        if not self._address:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as client:
            try:
                client.sendto(state.encode(), name)
            except OSError:
                return  # the manager restarts, or its queue is full; the next notification follows in seconds
