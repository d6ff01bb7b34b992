"""The consumer's line to its supervisor: its stdin, on which the supervisor sends a byte with each round of its loop.

End of file means that the supervisor is gone: the consumer leaves at once, and whoever starts the next daemon starts a
consumer that adopts everything. Silence means that it stands still. Then nobody forwards logs, judges leases or
restarts what dies, and in a container nobody would ever act on it: the supervisor is ended, so that the daemon exits
and is started anew, and engines go on under their guardians or from their checkpoints.

A pipe and not a file: a full disk must not look like silence. Looks and not a clock: only time that the consumer
itself was awake counts, so a suspended machine or a paused container condemns nobody.
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
from qmrunner.worker.exit_status import ExitStatus

PULSE = b"."
_LOOK_S = 10.0
_SILENT_LOOKS = 9  # 90 s in all, as long as the supervisor gives a silent consumer


class Lifeline:
    """Reads pulses from `descriptor`. Nobody is ended where it is not known who `supervisor` is."""

    def __init__(self, descriptor: int, supervisor: Identity | None, look_s: float = _LOOK_S) -> None:
        self._descriptor = descriptor
        self._supervisor = supervisor
        self._look_s = look_s
        self._resting = threading.Event()
        self._silent_looks = 0
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLIN)

    def start(self) -> None:
        keep("supervisor-watch", "supervisor_watch_failed", self._look, threading.Event())

    def rest(self) -> None:
        """From now on silence means nothing: the daemon stops, and whoever stops it sets the time."""
        self._resting.set()

    def _look(self) -> None:
        """Once. The end of the line is the end of this process."""
        if not self._poller.poll(self._look_s * 1000):
            self._silent_looks += 1
            if self._silent_looks >= _SILENT_LOOKS and not self._resting.is_set():
                silent_s, self._silent_looks = self._silent_looks * self._look_s, 0
                self._end_supervisor(silent_s)
        elif os.read(self._descriptor, 4096):
            self._silent_looks = 0
        else:
            os._exit(ExitStatus.ORPHANED)

    def _end_supervisor(self, silent_s: float) -> None:
        supervisor = self._supervisor
        if supervisor is None or supervisor.pid != os.getppid():
            return
        # From within, the kernel lets nobody kill PID 1: then this is all that can be done.
        remedy = "restart the container" if supervisor.pid == 1 else "none is needed where a failed daemon is restarted"
        logs.get().error("supervisor_silent", silent_s=round(silent_s, 1), pid=supervisor.pid, remedy=remedy)
        process_tree.send(supervisor, signal.SIGKILL)
