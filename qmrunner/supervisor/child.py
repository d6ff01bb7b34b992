"""One process that the supervisor keeps running: start it, delay restarts, read the end of its stderr."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_BACKOFF_S = (0.1, 30.0)
_END_S = 2.0
_HEALTHY_AFTER_S = 30.0


@dataclass
class ChildProcess:
    """`socket`: the name of the one that it serves. `delay` is the time before the next start, in seconds; `next_try`
    and `started` are monotonic times."""

    name: str
    socket: str | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    delay: float = _BACKOFF_S[0]
    next_try: float = 0.0
    last_exit: int | None = None
    pidfd: int | None = None

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def start(
        self,
        argv: list[str],
        passed: tuple[int, ...],
        stderr: Path,
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
        umask: int = -1,
    ) -> None:
        """Raises OSError when no process can be started or no descriptor is free."""
        with _open_for_writing(stderr) as stderr_log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=stderr_log,
                stderr=stderr_log,
                pass_fds=passed,
                start_new_session=True,
                env=environment,
                cwd=cwd,
                umask=umask,
            )
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)
        self.started = time.monotonic()
        self.pidfd = os.pidfd_open(self.process.pid)

    def collect(self) -> None:
        """Read the exit status of an ended process, and close its pipe and pidfd."""
        assert self.process is not None
        self.last_exit = self.process.returncode
        if self.process.stdin:
            self.process.stdin.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.process, self.pidfd = None, None

    def end(self) -> None:
        """End a process that ends with its stdin; kill it if it does not."""
        if self.process is None or self.ended():
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_END_S)

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def report(self) -> dict[str, object]:
        """What the supervisor reports about it."""
        return {
            "pid": self.process.pid if self.process else None,
            "socket": self.socket,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "next_try_in_s": round(max(0.0, self.next_try - time.monotonic()), 1),
        }

    def forget_old_deaths(self) -> None:
        """Reset the restart delay once the process has been healthy for a while."""
        if self.restarts and time.monotonic() - self.started > _HEALTHY_AFTER_S:
            self.delay = _BACKOFF_S[0]

    def lengthen_delay(self) -> None:
        self.delay = min(self.delay * 2, _BACKOFF_S[1])

    def defer_start(self) -> None:
        self.lengthen_delay()
        self.next_try = time.monotonic() + self.delay


def last_words(stderr: Path) -> str | None:
    """The end of a process's standard error."""
    try:
        text = stderr.read_text(errors="replace").strip()
    except OSError:
        return None
    return text[-500:] or None


def _open_for_writing(path: Path) -> IO[bytes]:
    try:
        return open(path, "wb")
    except OSError:  # no disk space for the file: start the process without it
        return open(os.devnull, "wb")
