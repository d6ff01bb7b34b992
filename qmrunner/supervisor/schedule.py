"""The periodic work of the supervisor: the failure detector and the sweeps, on an APScheduler with its own threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from qmrunner import maintenance
from qmrunner.app import App
from qmrunner.errors import QmrunnerError
from qmrunner.host.threads import Guard
from qmrunner.logs import get as get_logger
from qmrunner.maintenance.base import Context
from qmrunner.maintenance.lost_workers import LostWorkers
from qmrunner.store import unsent_jobs, workers

_CHECKS_PER_LEASE = 6
_PAUSE_S = 1.0
_FIRST_SWEEP_S = 2.0
_LIST_EVERY_S = 6 * 3600.0  # listing of the whole artifact store: object storage charges each request


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]  # apscheduler has no types
    """APScheduler whose thread survives an error while it processes its jobs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A check that waits (for processes of a suspended worker, for the store) is not repeated meanwhile: no warning.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._guard = Guard("schedule_failed")

    def _process_jobs(self) -> float | None:
        with self._guard:
            seconds: float | None = super()._process_jobs()
            return seconds
        return _PAUSE_S


class Schedule:
    def __init__(self, app: App, worker_id: int, consumer_beats: Callable[[], bool]) -> None:
        """`consumer_beats` returns whether the consumer runs and writes its own heartbeat."""
        self._app = app
        self._consumer_beats = consumer_beats
        self._lost_workers = LostWorkers(app, worker_id)
        self._listed_at: float | None = None
        self._unsent: set[tuple[str, int]] = set()
        self._guards = {name: Guard(f"{name}_failed") for name in ("judge", "stand_in", "sweep", "send_unsent")}
        self._scheduler = _Scheduler(timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1})

    def start(self) -> None:
        settings = self._app.settings
        check_every = min(3.0, settings.lease_seconds / _CHECKS_PER_LEASE)
        self._scheduler.add_job(self._judge, "interval", seconds=check_every, misfire_grace_time=None)
        self._scheduler.add_job(
            self._sweep,
            "interval",
            seconds=settings.sweep_seconds,
            next_run_time=datetime.now(UTC) + timedelta(seconds=_FIRST_SWEEP_S),
            misfire_grace_time=None,
        )
        self._scheduler.add_job(self._stand_in, "interval", seconds=settings.heartbeat_seconds, misfire_grace_time=None)
        if settings.artifacts is not None:
            every = settings.heartbeat_seconds
            self._scheduler.add_job(self._send_unsent, "interval", seconds=every, misfire_grace_time=None)
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)

    def worker_is(self, worker_id: int) -> None:
        """Use the new worker row after this worker was fenced."""
        if self._lost_workers.own != worker_id:
            self._lost_workers = LostWorkers(self._app, worker_id)

    def _judge(self) -> None:
        with self._guards["judge"]:
            try:
                self._lost_workers.run_once()
            except QmrunnerError as problem:
                get_logger().debug("judge_waits", evidence=problem.evidence)

    def _stand_in(self) -> None:
        """Write the heartbeat while the consumer restarts: its engines keep running and must not be declared lost."""
        if self._consumer_beats():
            return
        with self._guards["stand_in"]:
            try:
                with self._app.store.write() as connection:
                    workers.beat(connection, self._app.store.now(), self._lost_workers.own, None)
            except QmrunnerError as problem:
                get_logger().debug("stand_in_waits", evidence=problem.evidence)

    def _send_unsent(self) -> None:
        """Send what this machine has of the files of jobs that were held for them since the last call. A sweep looks
        again for files that were not here then."""
        with self._guards["send_unsent"]:
            try:
                with self._app.store.read() as connection:
                    held = set(unsent_jobs.held(connection).items())
                new, self._unsent = held - self._unsent, held
                if new:
                    self._app.send_unsent({job_id for job_id, _ in new})
                    self._app.queue.notify()
            except QmrunnerError as problem:
                self._unsent = set()
                get_logger().debug("send_unsent_waits", evidence=problem.evidence)

    def _sweep(self) -> None:
        with self._guards["sweep"]:
            self._sweep_once()

    def _sweep_once(self) -> None:
        self._unsent = set()
        contents = self._listed_at is None or time.monotonic() - self._listed_at > _LIST_EVERY_S
        context = Context(self._app, time.time(), contents)
        if contents:
            self._listed_at = time.monotonic()
        try:
            done = maintenance.apply_all(context, maintenance.plan_all(context))
        except QmrunnerError as problem:
            get_logger().warning("sweep_waits", evidence=problem.evidence)
            return
        for action, problem_text in done:
            get_logger().info("swept", **{**action.as_dict(), "detail": None}, problem=problem_text)
