"""Declares workers without a heartbeat lost, as judged by `model.failure_detector`, and releases their attempts.

Attempts on another machine are released with the verdict: an overlap costs time, never correctness. On this machine
their trees are ended and proven empty first.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qmrunner.app import App
from qmrunner.attempt.commit import limits
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.publish import write_job_result
from qmrunner.attempt.teardown import end_tree
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.logs import get as get_logger
from qmrunner.model.failure_detector import FailureDetector
from qmrunner.model.policy import Lost
from qmrunner.store import workers
from qmrunner.store.finish import end


class LostWorkers:
    """Watches all other workers of the store. `run_once` checks them once."""

    def __init__(self, app: App, own_worker_id: int) -> None:
        self.app = app
        self.own = own_worker_id
        self.judge = FailureDetector(app.settings.lease_seconds, app.settings.heartbeat_seconds)

    def run_once(self, monotonic: float | None = None) -> int:
        """Judge all other workers. Returns the number of released attempts. Raises QmrunnerError without the store."""
        with self.app.store.read() as connection:
            rows = {row["id"]: row for row in workers.all_workers(connection)}
        own = rows.pop(self.own, None)
        if own is None:
            return 0
        # Earlier workers of this home are not judged: the consumer adopts what they left, however slow its start is.
        beats = [(row["id"], row["beat"]) for row in rows.values() if row["home_id"] != own["home_id"]]
        now = time.monotonic() if monotonic is None else monotonic
        released = sum(
            self._declare_lost(rows[worker], beat) for worker, beat in self.judge.observe(beats, own["beat"], now)
        )
        return released + self._release_left()

    def _release_left(self) -> int:
        """Release attempts of workers already declared lost: their judge died first, or could not end them."""
        with self.app.store.read() as connection:
            dead = workers.dead_with_attempts(connection)
            if not dead:
                return 0
            rows = {row["id"]: row for row in workers.all_workers(connection, ended=True)}
            left = workers.live_attempts(connection, dead)
        return sum(self._release(rows[attempt["worker_id"]], attempt) for attempt in left)

    def _declare_lost(self, row: Mapping[str, Any], beat: int) -> int:
        with self.app.store.write() as connection:
            if not workers.declare_lost(connection, self.app.store.now(), row["id"], beat):
                return 0  # it wrote a heartbeat at the last moment
            left = workers.live_attempts(connection, [row["id"]])
        get_logger().warning(
            "worker_lost", lost_worker=row["id"], name=row["name"], host=row["host"], running=len(left)
        )
        return sum(self._release(row, attempt) for attempt in left)

    def _release(self, row: Mapping[str, Any], attempt: Mapping[str, Any]) -> int:
        here = row["boot_id"] == process_tree.boot_id() and row["pid_ns"] == process_tree.pid_namespace()
        if here and not self._ended_here(attempt):
            get_logger().error("survivors", attempt=attempt["marker"])
            return 0
        with self.app.store.write() as connection:
            done, _ = end(
                connection,
                self.app.store.now(),
                step_id=attempt["step_id"],
                number=attempt["number"],
                ending=Lost("machine"),
                limits=limits(self.app.settings),
                usage={},
                planner=self.app.planner,
                ended=partial(write_job_result, self.app.settings.jobs_root),
            )
        if done:
            self.app.queue.notify()
        return int(done is not None)

    def _ended_here(self, attempt: Mapping[str, Any]) -> bool:
        """End guardian and tree of an attempt on this machine; True once both are proven gone."""
        known = Identity.from_dict(attempt["guardian"]) if attempt["guardian"] else None
        folder = AttemptDirectory(Path(attempt["directory"]), known)
        return end_tree(folder, attempt["marker"], signal.SIGTERM, signal.SIGCONT)
