"""What a service manager hears of the daemon."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tests.lifecycle.lab import Lab
from tests.support import wait_for


def test_a_service_manager_hears_that_the_daemon_is_ready_alive_and_stopping(lab: Lab, tmp_path: Path) -> None:
    """And an engine does not know where to speak in the daemon's name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15.0)
        daemon = lab.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1\nWATCHDOG=1"
        job = lab.submit(gate=1)
        engine = lab.running(job)
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{engine.pid}/environ").read_bytes()
        assert b"WATCHDOG=1" in manager.recv(100)
        assert daemon.stop() == 0
        heard = wait_for(lambda: b"STOPPING" in (word := manager.recv(100)) and word)
        assert heard == b"STOPPING=1"


def test_a_frozen_daemon_falls_silent(lab: Lab, tmp_path: Path) -> None:
    """So that the manager's watchdog sees it: no other process speaks for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        daemon = lab.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        manager.settimeout(15.0)
        assert manager.recv(100)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            manager.settimeout(0.0)
            heard = []
            try:
                while True:
                    heard.append(manager.recv(100))
            except BlockingIOError:
                pass
            manager.settimeout(7.0)  # it speaks every five seconds at least
            try:
                manager.recv(100)
                spoke = True
            except TimeoutError:
                spoke = False
            assert not spoke
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        manager.settimeout(15.0)
        assert manager.recv(100)
