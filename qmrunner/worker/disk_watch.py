"""Keeps disks from filling: raises reservations in time, stops the greediest attempt, manages the ballast file.

Runs in its own thread, so that a stalled store does not stop it. `model/disk_space.py` makes the decisions.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from qmrunner.attempt.active import ActiveAttempt, engine_grace_s, log_fields
from qmrunner.errors import QmrunnerError
from qmrunner.host import capacity
from qmrunner.host.threads import keep
from qmrunner.model import disk_space
from qmrunner.model.disk_space import Use
from qmrunner.store import reservations
from qmrunner.worker.claim_loop import Worker

BALLAST = "ballast"
_CHECK_S = 1.0
_ASK_AGAIN_S = 5.0


class DiskWatch:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._making_room: ActiveAttempt | None = None
        self._refused: dict[tuple[int, int], float] = {}  # monotonic seconds

    def start(self) -> None:
        keep("space", "space_watch_failed", self._turn, self._worker.leaving)

    def _turn(self) -> None:
        if not self._worker.leaving.wait(_CHECK_S if self._worker.active.all() else self._settings.heartbeat_seconds):
            self.check()

    def check(self) -> None:
        """Check ballast, hard mark and reservations once."""
        self._watch_ballast()
        attempts = self._worker.active.all()
        if not attempts:
            return
        self._watch_hard_mark(attempts)
        for attempt in attempts:
            self._watch_reservation(attempt)

    # -- the store's own disk ---------------------------------------------------------------------------------------

    def _watch_ballast(self) -> None:
        home = capacity.volume(self._settings.home)
        if home is None:
            return
        path = self._settings.home / BALLAST
        move = disk_space.ballast_move(home.free_mib, self._settings.ballast_mib, path.exists())
        try:
            if move == "release":
                path.unlink()
                self._worker.log.warning("ballast_released", free_mib=home.free_mib, path=str(path))
            elif move == "make":
                _allocate(path, self._settings.ballast_mib)
        except OSError as problem:
            self._worker.log.warning("ballast_failed", path=str(path), error=str(problem))

    # -- the scratch volume -----------------------------------------------------------------------------------------

    def _watch_hard_mark(self, attempts: list[ActiveAttempt]) -> None:
        """Stop one attempt at a time: measure the space it frees before stopping another."""
        scratch = capacity.volume(self._settings.scratch_root)
        if scratch is None or (self._making_room is not None and self._making_room in attempts):
            return
        self._making_room = None
        mark = disk_space.hard_mark_mib(
            scratch.total_mib, self._settings.scratch_hard_mib, self._settings.scratch_soft_mib
        )
        if scratch.free_mib >= mark:
            return
        chosen = disk_space.greediest((number, _use(attempt)) for number, attempt in enumerate(attempts))
        if chosen is None:
            return
        attempt = self._making_room = attempts[chosen]
        self._worker.log.warning("scratch_low", **log_fields(attempt), free_mib=scratch.free_mib, hard_mark_mib=mark)
        self._worker.active.stop(attempt, disk_space.LOW, engine_grace_s(self._settings))

    def _watch_reservation(self, attempt: ActiveAttempt) -> None:
        wanted, key = disk_space.wanted_mib(_use(attempt)), (attempt.step.id, attempt.number)
        if wanted is None or time.monotonic() < self._refused.get(key, 0.0):
            return
        try:
            with self._worker.app.store.write() as connection:
                granted = reservations.grow(
                    connection,
                    step_id=attempt.step.id,
                    number=attempt.number,
                    worker_id=self._worker.worker_id,
                    scratch_mib=wanted,
                    capacity=self._worker.capacity,
                    free_space=capacity.room(self._settings),
                )
        except QmrunnerError as problem:
            self._worker.log.warning("reservation_waits", **log_fields(attempt), evidence=problem.evidence)
            return
        if granted is None:
            self._refused[key] = time.monotonic() + _ASK_AGAIN_S
            return
        self._worker.log.info("reservation_raised", **log_fields(attempt), scratch_mib=granted)
        attempt.allow(granted)


def _use(attempt: ActiveAttempt) -> Use:
    return Use(attempt.grant.scratch_mib, float(attempt.usage.get("scratch_mib") or 0.0))


def _allocate(path: Path, mib: int) -> None:
    """Allocate a file of real blocks, completely or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, mib << 20)
        os.rename(fresh, path)
    except OSError:
        os.unlink(fresh)
        raise
    finally:
        os.close(descriptor)
