"""The consumer's heart: one statement per beat for the worker and all its attempts, from a thread of its own.

The same thread saves progress, learns of cancellations and lost ownership, rings for steps that nobody rang for, and
writes the state file from which `qmrunner status` answers when the store does not.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from qmrunner.errors import QmrunnerError
from qmrunner.logs import get as get_logger
from qmrunner.runtime.attempt import Live, engine_grace_s
from qmrunner.runtime.folders import write_atomically
from qmrunner.store import claims, workers

if TYPE_CHECKING:
    from qmrunner.runtime.consumer import Consumer

STATE_FILE = "state.json"
_TICK_S = 1.0


class Beat:
    """Runs beside the worker threads; a stalled store stalls only this thread."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._nudge = threading.Event()
        self._leaving = threading.Event()
        self._next_beat = 0.0
        self._store_lost_since: float | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="beat", daemon=True).start()

    def nudge(self) -> None:
        """Look for cancellations now."""
        self._nudge.set()

    def leave(self) -> None:
        self._leaving.set()
        self._nudge.set()

    def sleep_unless_leaving(self, seconds: float) -> bool:
        """Wait; True when the process is about to leave."""
        return self._leaving.wait(seconds)

    def _run(self) -> None:
        while not self._leaving.is_set():
            nudged = self._nudge.wait(self._pause())
            self._nudge.clear()
            try:
                self._tick(nudged)
            except QmrunnerError as problem:
                self._store_is_lost(problem)
            except Exception as problem:
                get_logger().error("beat_failed", error=repr(problem))
            self._write_state()

    def _pause(self) -> float:
        until_beat = max(0.0, self._next_beat - time.monotonic())
        return min(until_beat, _TICK_S) if self._consumer.live.all() else until_beat

    def _tick(self, nudged: bool) -> None:
        consumer, live = self._consumer, self._consumer.live.all()
        due = time.monotonic() >= self._next_beat
        dirty = [one for one in live if one.dirty]
        if not (due or dirty or nudged):
            return
        now = time.time()
        for one in dirty:
            one.dirty = False
        with consumer.app.store.write() as connection:
            if due:
                self._next_beat = time.monotonic() + consumer.settings.heartbeat_seconds
                if not workers.beat(connection, now, consumer.worker_id, os.getpid()):
                    consumer.fenced_off()
            workers.save_progress(connection, now, [(one.step.id, one.number, one.progress) for one in dirty])
            cancelled = workers.cancelled_steps(connection, consumer.worker_id) if live else set()
            fenced = workers.fenced_attempts(connection, [(one.step.id, one.number) for one in live])
            unrung = due and len(live) < consumer.capacity.slots and claims.any_ready(connection, now)
        self._store_is_back()
        for one in live:
            if (one.step.id, one.number) in fenced:
                consumer.live.stop(one, "fenced", 0.0)
            elif one.step.id in cancelled:
                consumer.live.stop(one, "cancel", engine_grace_s(consumer.settings))
        if unrung:
            consumer.app.queue.ring()

    def _store_is_lost(self, problem: QmrunnerError) -> None:
        self._next_beat = time.monotonic() + min(2.0, self._consumer.settings.heartbeat_seconds)
        if self._store_lost_since is None:
            self._store_lost_since = time.monotonic()
            get_logger().error("store_lost", **problem.as_dict())
        elif time.monotonic() - self._store_lost_since > self._consumer.settings.outage_grace_seconds:
            for one in self._consumer.live.all():
                self._consumer.live.stop(one, "outage", engine_grace_s(self._consumer.settings))

    def _store_is_back(self) -> None:
        if self._store_lost_since is not None:
            get_logger().info("store_back", outage_s=round(time.monotonic() - self._store_lost_since, 1))
            self._store_lost_since = None

    def _write_state(self) -> None:
        consumer = self._consumer
        lost = self._store_lost_since
        state = {
            "at": time.time(),
            "worker_id": consumer.worker_id,
            "consumer_pid": os.getpid(),
            "stopping": consumer.stopping.is_set(),
            "store_lost_s": None if lost is None else round(time.monotonic() - lost, 1),
            "attempts": [_describe(one) for one in consumer.live.all()],
        }
        try:
            write_atomically(consumer.settings.run_root / STATE_FILE, json.dumps(state))
        except OSError as problem:
            get_logger().warning("state_file_failed", error=str(problem))


def _describe(live: Live) -> dict[str, Any]:
    return {
        "job": live.job.id,
        "step": live.step.name,
        "attempt": live.number,
        "engine_pid": live.engine_pid,
        "since": live.since,
        "cores": live.grant.cores,
        "progress": live.progress,
        "usage": live.usage,
    }
