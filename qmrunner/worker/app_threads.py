"""Threads for tasks of Huey applications, beside those of the slots: as many as the applications have workers."""

from __future__ import annotations

import threading
from functools import partial

from qmrunner.errors import QmrunnerError
from qmrunner.host.threads import try_to_start
from qmrunner.store import ready_steps
from qmrunner.store.claims import Claim
from qmrunner.worker.claim_loop import Worker

_LOOK_ANYWAY_S = 5.0


class AppThreads:
    """Starts a thread that runs ready steps until there are none, for each task that may be ready."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._workers: dict[str, int] = {}
        self._most = self._busy = 0
        self._seen = worker.app.queue.wake.count

    def allow(self, app: str, workers: int) -> None:
        """As many tasks may run at once. There are more threads: one may also claim a step that takes a slot."""
        with self._lock:
            self._workers[app] = workers
            self._most = sum(self._workers.values()) + self._worker.capacity.slots
        self.wake()

    def wake(self) -> None:
        """A step may be ready."""
        with self._lock:
            if self._busy >= self._most:
                return  # each of them looks for another step when its own has ended
        self.run(None)

    def run(self, claim: Claim | None) -> None:
        """Run a claimed step, then ready ones, in another thread."""
        with self._lock:
            self._busy += 1
        if not try_to_start("app_thread", partial(self._run, claim)):
            with self._lock:
                self._busy -= 1
            if claim is not None:
                self._worker.claim_unsure.set()  # the heartbeat returns to it

    def _run(self, claim: Claim | None) -> None:
        try:
            if claim is not None:
                self._worker.run_claim(claim)
            self._worker.run_ready_steps()
        finally:
            with self._lock:
                self._busy -= 1

    def watch(self) -> None:
        """Wait once for a notification of the queue: steps get ready by retries and releases, too."""
        wake = self._worker.app.queue.wake
        wake.wait(self._seen, _LOOK_ANYWAY_S)
        self._seen = wake.count
        with self._lock:
            if self._busy >= self._most:
                return
        try:
            with self._worker.app.store.read() as connection:
                found = ready_steps.any_ready(connection, self._worker.app.store.now(), self._worker.capacity.labels)
        except QmrunnerError:
            return  # the heartbeat reports it
        if found:
            self.wake()
