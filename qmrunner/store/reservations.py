"""What the live reservations of a machine leave free, and how they grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from qmrunner.model.disk_space import FreeSpace, Use, left_mib
from qmrunner.model.jobs import Grant
from qmrunner.model.packing import Capacity, Free
from qmrunner.store.tables import attempts, reservations, workers

# A worker and all that share a volume with it; a volume that is not known (NULL) equals none.
_SHARING = or_(
    workers.c.id == bindparam("worker"),
    workers.c.scratch_volume == bindparam("scratch"),
    workers.c.shm_volume == bindparam("shm"),
)
# Built once: each claim executes them.
_LOCK = (
    select(workers.c.id)
    .where(_SHARING, workers.c.state.in_(("active", "draining")))
    .order_by(workers.c.id)
    .with_for_update(key_share=True)
)
_IN_USE = (
    select(reservations, attempts.c.usage, workers.c.scratch_volume, workers.c.shm_volume)
    .join(workers, workers.c.id == reservations.c.worker_id)
    .join(attempts, (attempts.c.step_id == reservations.c.step_id) & (attempts.c.number == reservations.c.attempt))
    .where(_SHARING)
)


@dataclass(frozen=True, slots=True)
class Left:
    """Free resources `now`, and once all attempts have ended (`idle`). Space used by other programs is in neither."""

    now: Free
    idle: Free


def left_of(connection: Connection, worker_id: int, capacity: Capacity, free_space: FreeSpace) -> Left:
    """What this worker may grant. Scratch and shared memory are counted over all workers of the volume."""
    rows = _rows(connection, worker_id, capacity)
    own = [row for row in rows if row.worker_id == worker_id]
    # Rows are compared by number: comparing whole rows took a second per claim with a thousand reservations.
    scratch = [
        use(row, "scratch")
        for row in rows
        if row.worker_id == worker_id or row.scratch_volume == capacity.scratch_volume
    ]
    shm = [use(row, "shm") for row in rows if row.worker_id == worker_id or row.shm_volume == capacity.shm_volume]
    return Left(
        now=Free(
            capacity.slots - sum(row.cores > 0 for row in own),
            capacity.cores - sum(row.cores for row in own),
            capacity.memory_mib - sum(row.memory_mib for row in own),
            left_mib(capacity.scratch_mib, scratch, free_space.scratch_mib),
            left_mib(capacity.shm_mib, shm, free_space.shm_mib),
        ),
        idle=Free(
            capacity.slots,
            capacity.cores,
            capacity.memory_mib,
            _once_idle(capacity.scratch_mib, scratch, free_space.scratch_mib),
            _once_idle(capacity.shm_mib, shm, free_space.shm_mib),
        ),
    )


def _once_idle(total_mib: int | None, uses: list[Use], really_free_mib: int | None) -> int | None:
    """What will be free once these attempts have ended, if the files of other programs stay."""
    released = sum(use.used_mib for use in uses)
    return left_mib(total_mib, [], None if really_free_mib is None else int(really_free_mib + released))


def use(row: Row[Any], what: str) -> Use:
    """From a row of reservations with the attempt's `usage`: of `scratch` or `shm`."""
    used = row.usage.get(f"{what}_mib")
    return Use(getattr(row, f"{what}_mib"), 0.0 if used is None else float(used))


def lock(connection: Connection, worker_id: int, capacity: Capacity) -> None:
    """Prevent two threads, or two workers of one volume, from granting the same space. SQLite has one writer anyway."""
    if connection.dialect.name == "sqlite":
        return
    connection.execute(_LOCK, _machine(worker_id, capacity)).all()


def _rows(connection: Connection, worker_id: int, capacity: Capacity) -> list[Row[Any]]:
    return list(connection.execute(_IN_USE, _machine(worker_id, capacity)))


def _machine(worker_id: int, capacity: Capacity) -> dict[str, Any]:
    """The parameters of `_SHARING`."""
    return {"worker": worker_id, "scratch": capacity.scratch_volume, "shm": capacity.shm_volume}


def by_worker(connection: Connection) -> dict[int, Grant]:
    """The sum of the live reservations of each worker."""
    held = reservations.c
    columns = [func.sum(column) for column in (held.cores, held.memory_mib, held.scratch_mib, held.shm_mib)]
    query = select(held.worker_id, *columns).group_by(held.worker_id)
    return {row[0]: Grant(*(int(value) for value in row[1:])) for row in connection.execute(query)}


def grow(
    connection: Connection,
    *,
    step_id: int,
    number: int,
    worker_id: int,
    scratch_mib: int,
    capacity: Capacity,
    free_space: FreeSpace,
) -> int | None:
    """Raise the scratch reservation of a live attempt to `scratch_mib`, or as far as space is free.

    Returns the new reservation, or None if no space is free or the attempt no longer owns its step.
    """
    lock(connection, worker_id, capacity)
    mine = (reservations.c.step_id == step_id) & (reservations.c.attempt == number)
    row = connection.execute(select(reservations).where(mine)).first()
    if row is None:
        return None
    left = left_of(connection, worker_id, capacity, free_space).now.scratch_mib
    more = scratch_mib - row.scratch_mib if left is None else min(scratch_mib - row.scratch_mib, left)
    if more <= 0:
        return None
    granted = row.scratch_mib + more
    connection.execute(update(reservations).where(mine).values(scratch_mib=granted))
    ours = (attempts.c.step_id == step_id) & (attempts.c.number == number)
    held = connection.execute(select(attempts.c.granted).where(ours)).scalar_one()
    connection.execute(update(attempts).where(ours).values(granted={**held, "scratch_mib": granted}))
    return int(granted)
