"""Watches the supervisor through the consumer's stdin, to which the supervisor writes a byte in each round of its loop.

End of file means that the supervisor is gone: the consumer ends at once, and the consumer of the next daemon adopts its
attempts. Silence means that the supervisor hangs. Then logs are not forwarded, leases are not judged and dead processes
are not restarted, and a container would stay in that state: the consumer kills the supervisor, so that the daemon exits
and is restarted; engines keep running under their guardians or resume from their checkpoints.

A pipe and not a file: a full disk must not look like silence. Polls and not a clock: only time that the consumer itself
was awake counts, so a suspended machine or a paused container kills no supervisor.
"""

from __future__ import annotations

import os
import select
import signal
import threading

from qmrunner import logs
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.host.threads import keep
from qmrunner.worker.consumer_exit import ExitStatus

PULSE = b"."
_POLL_S = 10.0
_SILENT_POLLS = 9  # 90 s in all, the same limit that the supervisor has for a silent consumer


class SupervisorWatch:
    """Reads pulses from `descriptor`. Never kills anything when `supervisor` is None."""

    def __init__(self, descriptor: int, supervisor: Identity | None, poll_s: float = _POLL_S) -> None:
        self._descriptor = descriptor
        self._supervisor = supervisor
        self._poll_s = poll_s
        self._ignoring_silence = threading.Event()
        self._silent_polls = 0
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLIN)

    def start(self) -> None:
        keep("supervisor-watch", "supervisor_watch_failed", self._poll, threading.Event())

    def ignore_silence(self) -> None:
        """Ignore silence from now on: the daemon is stopping, within its stop grace."""
        self._ignoring_silence.set()

    def _poll(self) -> None:
        """Poll once. End of file ends this process."""
        if not self._poller.poll(self._poll_s * 1000):
            self._silent_polls += 1
            if self._silent_polls >= _SILENT_POLLS and not self._ignoring_silence.is_set():
                silent_s, self._silent_polls = self._silent_polls * self._poll_s, 0
                self._end_supervisor(silent_s)
        elif os.read(self._descriptor, 4096):
            self._silent_polls = 0
        else:
            os._exit(ExitStatus.ORPHANED)

    def _end_supervisor(self, silent_s: float) -> None:
        supervisor = self._supervisor
        if supervisor is None or supervisor.pid != os.getppid():
            return
        # Inside a container the kernel protects PID 1 from KILL: this message is all.
        remedy = "restart the container" if supervisor.pid == 1 else "none, if failed daemons are restarted"
        logs.get().error("supervisor_silent", silent_s=round(silent_s, 1), pid=supervisor.pid, remedy=remedy)
        process_tree.send(supervisor, signal.SIGKILL)
