"""Keeps disks from filling: reservations that grow in time, the greediest attempt that makes room, and the ballast.

It runs in its own thread, so that a stalled store does not stop it. The decisions are made in `model/disk_space.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from qmrunner.attempt.active import Live, engine_grace_s, who
from qmrunner.errors import QmrunnerError
from qmrunner.host import capacity
from qmrunner.host.threads import keep
from qmrunner.model import disk_space
from qmrunner.model.disk_space import Use
from qmrunner.store import reservations
from qmrunner.worker.claim_loop import Worker

BALLAST = "ballast"
_LOOK_S = 1.0
_ASK_AGAIN_S = 5.0


class SpaceWatch:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._making_room: Live | None = None
        self._refused: dict[tuple[int, int], float] = {}  # monotonic seconds

    def start(self) -> None:
        keep("space", "space_watch_failed", self._turn, self._worker.leaving)

    def _turn(self) -> None:
        if not self._worker.leaving.wait(_LOOK_S if self._worker.live.all() else self._settings.heartbeat_seconds):
            self.look()

    def look(self) -> None:
        """Once: ballast, hard mark, reservations."""
        self._mind_ballast()
        live = self._worker.live.all()
        if not live:
            return
        self._mind_hard_mark(live)
        for one in live:
            self._mind_reservation(one)

    # -- the store's own disk ---------------------------------------------------------------------------------------

    def _mind_ballast(self) -> None:
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

    def _mind_hard_mark(self, live: list[Live]) -> None:
        """One at a time: what its end gives back is seen before another is asked."""
        found = capacity.volume(self._settings.scratch_root)
        if found is None or (self._making_room is not None and self._making_room in live):
            return
        self._making_room = None
        mark = disk_space.hard_mark_mib(
            found.total_mib, self._settings.scratch_hard_mib, self._settings.scratch_soft_mib
        )
        if found.free_mib >= mark:
            return
        chosen = disk_space.greediest((number, _use(one)) for number, one in enumerate(live))
        if chosen is None:
            return
        one = self._making_room = live[chosen]
        self._worker.log.warning("scratch_low", **who(one), free_mib=found.free_mib, hard_mark_mib=mark)
        self._worker.live.stop(one, disk_space.LOW, engine_grace_s(self._settings))

    def _mind_reservation(self, one: Live) -> None:
        wanted, key = disk_space.wanted_mib(_use(one)), (one.step.id, one.number)
        if wanted is None or time.monotonic() < self._refused.get(key, 0.0):
            return
        try:
            with self._worker.app.store.write() as connection:
                granted = reservations.grow(
                    connection,
                    step_id=one.step.id,
                    number=one.number,
                    worker_id=self._worker.worker_id,
                    scratch_mib=wanted,
                    capacity=self._worker.capacity,
                    free_space=capacity.room(self._settings),
                )
        except QmrunnerError as problem:
            self._worker.log.warning("reservation_waits", **who(one), evidence=problem.evidence)
            return
        if granted is None:
            self._refused[key] = time.monotonic() + _ASK_AGAIN_S
            return
        self._worker.log.info("reservation_raised", **who(one), scratch_mib=granted)
        one.allow(granted)


def _use(one: Live) -> Use:
    return Use(one.grant.scratch_mib, float(one.usage.get("scratch_mib") or 0.0))


def _allocate(path: Path, mib: int) -> None:
    """A file of real blocks, whole or not at all."""
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
