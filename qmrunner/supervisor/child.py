"""One process that the supervisor keeps running: start it, wait longer after each death, read its last words."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_BACKOFF_S = (0.1, 30.0)
_HEALTHY_AFTER_S = 30.0


@dataclass
class ChildProcess:
    """`delay` is what is waited before the next start, in seconds; `next_try` and `started` are monotonic times."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    delay: float = _BACKOFF_S[0]
    next_try: float = 0.0
    last_exit: int | None = None
    pidfd: int | None = None

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def start(self, argv: list[str], passed: tuple[int, ...], stderr: Path) -> None:
        """Raises OSError when the machine has no process or descriptor to give."""
        with _open_for_writing(stderr) as diary:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=diary, stderr=diary, pass_fds=passed, start_new_session=True
            )
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)
        self.started = time.monotonic()
        self.pidfd = os.pidfd_open(self.process.pid)

    def collect(self) -> None:
        """Take the exit status of a process that has ended, and close what led to it."""
        assert self.process is not None
        self.last_exit = self.process.returncode
        if self.process.stdin:
            self.process.stdin.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.process, self.pidfd = None, None

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def forget_old_deaths(self) -> None:
        """After a while in good health the next death is answered as fast as the first."""
        if self.restarts and time.monotonic() - self.started > _HEALTHY_AFTER_S:
            self.delay = _BACKOFF_S[0]

    def lengthen_delay(self) -> None:
        self.delay = min(self.delay * 2, _BACKOFF_S[1])

    def put_off(self) -> None:
        self.lengthen_delay()
        self.next_try = time.monotonic() + self.delay


def last_words(stderr: Path) -> str | None:
    """The end of what a process wrote to its standard error."""
    try:
        text = stderr.read_text(errors="replace").strip()
    except OSError:
        return None
    return text[-500:] or None


def _open_for_writing(path: Path) -> IO[bytes]:
    try:
        return open(path, "wb")
    except OSError:  # the disk has no room for the file: the process starts all the same
        return open(os.devnull, "wb")
