"""End the process tree of an attempt, and prove that it is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.guardian import process_tree

DEADLINE_S = 10.0


def end_tree(
    folder: AttemptDirectory, marker: str, *how: int, orphans_ended: Callable[[], bool] = lambda: True
) -> bool:
    """Fence an attempt, end its guardian by the signals `how`, then every process that carries its marker.

    SIGKILL is for a guardian of this worker: the spawner inherits its tree. A guardian of another daemon gets SIGTERM,
    with SIGCONT in case it is stopped, and ends its tree itself. `orphans_ended` waits for unmarked processes of the
    guardian. True once no process of the attempt is left and none can start.
    """
    end = time.monotonic() + DEADLINE_S
    signalled = None
    while not folder.fence() and time.monotonic() < end:
        guardian = folder.guardian_identity()  # None: it has just started and not yet written its record
        if guardian is not None and guardian != signalled:
            process_tree.send(guardian, *how)
            signalled = guardian
        if signal.SIGKILL not in how:
            process_tree.end_marked(marker)
        time.sleep(0.01)
    return not folder.guardian_lives() and orphans_ended() and process_tree.end_marked(marker)
