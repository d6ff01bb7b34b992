"""Has `doctor` examine this machine, soon after the start and then daily, in a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from threading import Event

from qmrunner.logs import get as get_logger

_FIRST_S = 60.0  # after the start, when a worker is busiest
_EVERY_S = 86400.0
_LONGEST_S = 300.0
_POLL_S = 0.2
_NICE = 10


class Examination:
    def __init__(self, worker_id: int, leaving: Event) -> None:
        self._worker_id = worker_id
        self._leaving = leaving
        self._pause_s = _FIRST_S

    def turn(self) -> None:
        """Wait for the time of the next report, then have it written. Raises OSError when no process can be started."""
        if self._leaving.wait(self._pause_s):
            return
        self._pause_s = _EVERY_S
        status = examine(self._worker_id, self._leaving)
        if status != 0 and not self._leaving.is_set():
            get_logger().warning("not_examined", exit=status)


def examine(worker_id: int, leaving: Event, longest_s: float = _LONGEST_S) -> int | None:
    """Run the examination. Returns its exit status; None if it took too long or the worker leaves."""
    argv = [sys.executable, "-P", "-m", "qmrunner.doctor.record", str(worker_id)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    assert process.stdin is not None
    os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)  # engines come first
    deadline = time.monotonic() + longest_s
    while process.poll() is None and time.monotonic() < deadline and not leaving.wait(_POLL_S):
        pass
    status = process.poll()
    if status is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.stdin.close()
    process.wait()
    return status
