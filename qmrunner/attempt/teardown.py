"""End the process tree of an attempt, and prove that it is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from qmrunner.attempt.directory import AttemptFolder
from qmrunner.guardian import process_tree

DEADLINE_S = 10.0


def end_tree(folder: AttemptFolder, marker: str, *how: int, settled: Callable[[], bool] = lambda: True) -> bool:
    """Fence an attempt, end its guardian by the signals `how`, then every process that carries its marker.

    SIGKILL is for a guardian of this worker: its tree falls to the spawner. One of another daemon gets SIGTERM, with
    SIGCONT in case it is stopped, and ends its tree itself. `settled` waits for what the guardian left without a
    marker. True once no process of the attempt is left and none will be started.
    """
    end = time.monotonic() + DEADLINE_S
    signalled = None
    while not folder.fence() and time.monotonic() < end:
        guardian = folder.guardian_identity()  # None: it has only just started, and has not written its record
        if guardian is not None and guardian != signalled:
            process_tree.send(guardian, *how)
            signalled = guardian
        if signal.SIGKILL not in how:
            process_tree.end_marked(marker)
        time.sleep(0.01)
    return not folder.guardian_lives() and settled() and process_tree.end_marked(marker)
