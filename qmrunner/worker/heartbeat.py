"""The consumer's heartbeat: one statement per beat for the worker and all its attempts, from its own thread.

The same thread saves progress, detects cancellations and lost ownership, sends missing notifications for ready steps,
and writes the state file that `qmrunner status` reads when the store does not answer.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from qmrunner.attempt.active import ActiveAttempt, engine_grace_s
from qmrunner.errors import QmrunnerError
from qmrunner.host.home import STATE_FILE, write_state
from qmrunner.host.threads import keep, try_to_start
from qmrunner.logs import get as get_logger
from qmrunner.store import ready_steps, workers
from qmrunner.worker.adoption import reclaim
from qmrunner.worker.claim_loop import Worker
from qmrunner.worker.consumer_exit import ExitStatus

_TICK_S = 1.0
_FENCED_DEADLINE_S = 10.0
_RECLAIM_PAUSE_S = 2.0


class Heartbeat:
    """Runs beside the worker threads; a stalled store stalls only this thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._nudge = threading.Event()
        self._leaving = threading.Event()
        self._ringing = threading.Lock()
        self._next_beat = 0.0
        self._store_lost_since: float | None = None
        self._unwritten: OSError | None = None

    def start(self) -> None:
        keep("beat", "beat_failed", self._turn, self._leaving)

    def nudge(self) -> None:
        """Check for cancellations now."""
        self._nudge.set()

    def leave(self) -> None:
        self._leaving.set()
        self._nudge.set()

    def _turn(self) -> None:
        nudged = self._nudge.wait(self._pause())
        self._nudge.clear()
        try:
            self._tick(nudged)
        except QmrunnerError as problem:
            self._store_is_lost(problem)
        finally:
            self._write_state()

    def _pause(self) -> float:
        until_beat = max(0.0, self._next_beat - time.monotonic())
        return min(until_beat, _TICK_S) if self._worker.active.all() else until_beat

    def _tick(self, nudged: bool) -> None:
        worker, attempts = self._worker, self._worker.active.all()
        due = time.monotonic() >= self._next_beat
        dirty = [attempt for attempt in attempts if attempt.dirty]
        if not (due or dirty or nudged):
            return
        worker.app.store.check_file()
        changed = due and worker.measure()
        now = worker.app.store.now()
        for attempt in dirty:
            attempt.dirty = False
        accepted = True
        store = worker.app.store
        # A nudge alone only reads: it must not wait for the write lock.
        with store.write() if due or dirty else store.read() as connection:
            if due:
                self._next_beat = time.monotonic() + worker.settings.heartbeat_seconds
                accepted = workers.beat(connection, now, worker.worker_id, os.getpid())
                workers.save_usage(connection, [(a.step.id, a.number, a.usage) for a in attempts if a.usage])
                if changed:
                    workers.set_capacity(connection, worker.worker_id, worker.capacity)
            workers.save_progress(connection, now, [(a.step.id, a.number, a.progress) for a in dirty])
            cancelled = workers.cancelled_steps(connection, worker.worker_id) if attempts else set()
            fenced = workers.fenced_attempts(connection, [(a.step.id, a.number) for a in attempts])
            free_slot = worker.active.slots() < worker.capacity.slots or bool(worker.settings.apps)
            unclaimed = due and free_slot and ready_steps.any_ready(connection, now, worker.capacity.labels)
        self._store_is_back()
        if not accepted:
            self._leave_fenced()
        for attempt in attempts:
            if (attempt.step.id, attempt.number) in fenced:
                worker.active.stop(attempt, "fenced", 0.0)
            elif attempt.step.id in cancelled:
                worker.active.stop(attempt, "cancel", engine_grace_s(worker.settings))
        if worker.claim_unsure.is_set():
            worker.claim_unsure.clear()
            if not try_to_start("reclaim", self._reclaim):
                worker.claim_unsure.set()
        if unclaimed and self._ringing.acquire(blocking=False) and not try_to_start("ring", self._ring):
            self._ringing.release()

    def _ring(self) -> None:
        """Notify in a separate thread: an unreachable queue takes seconds, and a notification must not delay a beat."""
        try:
            self._worker.app.queue.notify()
        finally:
            self._ringing.release()

    def _reclaim(self) -> None:
        try:
            reclaim(self._worker, _RECLAIM_PAUSE_S)
        except Exception as problem:
            self._worker.claim_unsure.set()  # try again with the next successful beat
            if not isinstance(problem, QmrunnerError):
                raise

    def _leave_fenced(self) -> None:
        """Stop everything and exit: this worker was declared lost, so its commits are refused."""
        get_logger().error("worker_fenced", remedy="this machine was frozen or cut off for longer than the lease")
        self._worker.stopping.set()
        self._worker.leaving.set()
        for attempt in self._worker.active.all():
            attempt.stop("fenced", 0.0)
        end = time.monotonic() + _FENCED_DEADLINE_S
        while self._worker.active.all() and time.monotonic() < end:
            time.sleep(0.05)
        os._exit(ExitStatus.FENCED)

    def _store_is_lost(self, problem: QmrunnerError) -> None:
        if problem.code in ("store_corrupt", "store_replaced"):
            get_logger().error("store_unusable", **problem.as_dict())
            os._exit(ExitStatus.STORE_UNUSABLE)
        self._next_beat = time.monotonic() + min(2.0, self._worker.settings.heartbeat_seconds)
        if self._store_lost_since is None:
            self._store_lost_since = time.monotonic()
            get_logger().error("store_lost", **problem.as_dict())
        elif time.monotonic() - self._store_lost_since > self._worker.settings.outage_grace_seconds:
            for attempt in self._worker.active.all():
                self._worker.active.stop(attempt, "outage", engine_grace_s(self._worker.settings))

    def _store_is_back(self) -> None:
        if self._store_lost_since is not None:
            get_logger().info("store_back", outage_s=round(time.monotonic() - self._store_lost_since, 1))
            self._store_lost_since = None

    def _write_state(self) -> None:
        worker = self._worker
        lost = self._store_lost_since
        state = {
            "at": time.time(),
            "worker_id": worker.worker_id,
            "consumer_pid": os.getpid(),
            "stopping": worker.stopping.is_set(),
            "store_lost_s": None if lost is None else round(time.monotonic() - lost, 1),
            "artifacts_lost_s": worker.artifacts.lost_s() if worker.artifacts else None,
            "attempts": [_describe(attempt) for attempt in worker.active.all()],
        }
        problem = write_state(worker.settings.run_root / STATE_FILE, state)
        if problem is not None and self._unwritten is None:
            get_logger().warning("state_file_failed", error=str(problem))
        self._unwritten = problem


def _describe(attempt: ActiveAttempt) -> dict[str, Any]:
    return {
        "job": attempt.job.id,
        "step": attempt.step.name,
        "attempt": attempt.number,
        "engine_pid": attempt.engine_pid,
        "since": attempt.since,
        "cores": attempt.grant.cores,
        "progress": attempt.progress,
        "usage": attempt.usage,
    }
