"""Durations and speed-ups of the next steps of a stage, estimated from earlier attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from qmrunner.model import core_allocation
from qmrunner.model.core_allocation import Busy, Speedup, Stage
from qmrunner.model.jobs import Step
from qmrunner.model.packing import Free
from qmrunner.model.states import ATTEMPT_LIVE, AttemptState
from qmrunner.store.tables import attempts, steps

# Used while no step of the stage has ended: then only the ratio of times matters.
_UNKNOWN_S = 86400.0
_ATTEMPTS_READ = 200
_ALIKE = 0.2


def cores_wanted(connection: Connection, now: float, worker_id: int, ready: Sequence[Step], free: Free) -> int | None:
    """The best number of cores for the next of the `ready` steps, 0 to wait for more; None without a preference.

    There is one only if all ready steps belong to one stage: then no other step is delayed.
    """
    if not ready or ready[0].demand.cores_max < 2 or len({(step.job_id, step.stage) for step in ready}) > 1:
        return None
    first = ready[0]
    if free.slots < 1 or free.cores < first.demand.cores_min:
        return None  # it cannot start now anyway
    speedup = curve(connection, first)
    done = [_seconds(row) * speedup(row.granted["cores"]) for row in _ended(connection, first.job_id, first.stage)]
    one_core_s = sum(done) / len(done) if done else _UNKNOWN_S
    stage = Stage(len(ready), first.demand.cores_min, first.demand.cores_max, one_core_s)
    busy = [
        Busy(cores, core_allocation.remaining_s(one_core_s / speedup(cores), max(0.0, now - row.created_at)))
        for row in _running(connection, worker_id, first.job_id, first.stage)
        if (cores := row.granted["cores"])
    ]
    return core_allocation.cores_now(stage, free.cores, busy, free.slots, speedup)


def curve(connection: Connection, like: Step) -> Speedup:
    """The speed-up measured on steps of this engine, task and basis of about as many atoms; else the assumed one."""
    seconds: dict[int, list[float]] = defaultdict(list)
    for row in _alike(connection, like):
        seconds[row.granted["cores"]].append(_seconds(row) / max(1, row.result.get("steps") or 1))
    return core_allocation.measured(seconds)


def expected_s(connection: Connection, like: Step, cores: int) -> float | None:
    """The longest duration of whole steps of this kind and size on so many cores; None if unknown.

    It is unknown for a user's own input, whose size is unknown.
    """
    if not like.params.get("atoms"):
        return None
    speedup = curve(connection, like)
    cores = max(like.demand.cores_min, min(like.demand.cores_max, cores))
    took = [_seconds(row) * speedup(row.granted["cores"]) / speedup(cores) for row in _alike(connection, like)]
    return max(took, default=None)


def _alike(connection: Connection, like: Step) -> list[Row[Any]]:
    """Newest first: attempts at steps of this engine, task, basis and user's arguments, of about as many atoms, that
    ran without interruption."""
    atoms = len(like.params.get("atoms") or ())
    query = (
        select(attempts.c.granted, attempts.c.started_at, attempts.c.finished_at, steps.c.params, steps.c.result)
        .join(steps, steps.c.id == attempts.c.step_id)
        .where(
            steps.c.engine == like.engine,
            steps.c.task == like.task,
            # One attempt from start to end: no partial time, and no reused result.
            steps.c.attempt == 1,
            attempts.c.state == AttemptState.SUCCEEDED,
            attempts.c.started_at.is_not(None),
        )
        .order_by(attempts.c.step_id.desc())
        .limit(_ATTEMPTS_READ)
    )
    return [
        row
        for row in connection.execute(query)
        if all(row.params.get(name) == like.params.get(name) for name in ("basis", "args"))
        and abs(len(row.params.get("atoms") or ()) - atoms) <= _ALIKE * atoms
    ]


def _ended(connection: Connection, job_id: str, stage: str) -> Sequence[Row[Any]]:
    query = _of_stage(job_id, stage).where(
        attempts.c.state == AttemptState.SUCCEEDED, attempts.c.started_at.is_not(None), steps.c.attempt == 1
    )
    return connection.execute(query).all()


def _running(connection: Connection, worker_id: int, job_id: str, stage: str) -> Sequence[Row[Any]]:
    query = _of_stage(job_id, stage).where(attempts.c.state.in_(ATTEMPT_LIVE), attempts.c.worker_id == worker_id)
    return connection.execute(query).all()


def _of_stage(job_id: str, stage: str) -> Any:
    columns = (attempts.c.granted, attempts.c.created_at, attempts.c.started_at, attempts.c.finished_at)
    return (
        select(*columns)
        .join(steps, steps.c.id == attempts.c.step_id)
        .where(steps.c.job_id == job_id, steps.c.stage == stage)
    )


def _seconds(row: Row[Any]) -> float:
    return float(row.finished_at - row.started_at)
