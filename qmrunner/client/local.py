"""The server of a local home: `qmrunner serve` on a Unix socket that only this user can open, as a separate process.

So a local client gets the answers of the HTTP API, with the same checks, streams and errors as a remote one, and needs
neither store nor chemistry in its own process. The server ends with the client: its stdin ends then, too if the client
is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

from qmrunner.errors import NotReadyError

# Loading the server's packages takes 1 s of CPU time; a busy or cold machine needs many times that.
_START_S = 60.0
_STOP_S = 5.0


class LocalServer:
    """Started at once, in the background, and again by `ensure` if it has ended."""

    def __init__(self, home: Path | None) -> None:
        self._environment = {**os.environ} if home is None else {**os.environ, "QMRUNNER_HOME": str(home)}
        self._folder = Path(tempfile.mkdtemp(prefix="qmrunner-client-"))  # mode 700
        self.path = self._folder / "socket"
        # A socket address holds 107 bytes, and a folder for temporary files may have a longer path.
        self._handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.address = f"/proc/self/fd/{self._handle}/{self.path.name}"
        self._lock = threading.Lock()
        self._held: list[subprocess.Popen[bytes]] = []
        self._end = weakref.finalize(self, _end, self._held, self._folder, self._handle, os.getpid())
        self._start()

    @property
    def runs(self) -> bool:
        """Whether it accepts connections."""
        return bool(self._held) and self._held[0].poll() is None and self.path.exists()

    def ensure(self) -> None:
        """Return once it accepts connections. Raises NotReadyError `local_server_failed`."""
        if self.runs:
            return
        with self._lock:
            if not self._end.alive:
                raise NotReadyError("client_closed", "this client is closed", remedy="make another Client()")
            if not self._held or (self._held[0].poll() is not None and self.path.exists()):
                self._start()  # it was killed
            deadline = time.monotonic() + _START_S
            while not self.path.exists():
                if self._held[0].poll() is not None or time.monotonic() > deadline:
                    raise self._failure()
                time.sleep(0.02)

    def close(self) -> None:
        """End it, and remove its socket."""
        self._end()

    def _start(self) -> None:
        _stop(self._held)
        self.path.unlink(missing_ok=True)
        with open(self._folder / "stderr", "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "qmrunner", "serve", "--socket", str(self.path), "--stop-at-eof"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, env=self._environment,
                start_new_session=True,  # an interrupt of the notebook or terminal is not for it
            )  # fmt: skip
        self._held[:] = [process]

    def _failure(self) -> NotReadyError:
        seen = (self._folder / "stderr").read_text(errors="replace").strip()
        self._held[0].kill()
        _stop(self._held)
        return NotReadyError(
            "local_server_failed", "the client could not open the local home", evidence=seen[-1000:] or None,
            remedy="set QMRUNNER_HOME, or name the home: Client('/data/qmrunner'); a server needs Client('https://…')",
        )  # fmt: skip


def _end(held: list[subprocess.Popen[bytes]], folder: Path, handle: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the client's process: the server belongs to the original
    _stop(held)
    os.close(handle)
    shutil.rmtree(folder, ignore_errors=True)


def _stop(held: list[subprocess.Popen[bytes]]) -> None:
    """End the server, if there is one: at the end of its stdin, else by SIGKILL."""
    for process in held:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    held.clear()
