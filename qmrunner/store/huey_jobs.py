"""Jobs that came as messages of a Huey application."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, or_, select

from qmrunner.model import app_tasks, labels
from qmrunner.model.states import STEP_FINAL, STEP_LIVE, JobState, StepState
from qmrunner.store.tables import artifacts, attempts, jobs, steps, workers
from qmrunner.store.tables import events as event_rows
from qmrunner.store.workers import is_paused

KIND = app_tasks.ENGINE
_PREFIX = "huey:"
_LONGEST_ID = 120
# Built once: the intake executes them for every message.
_ACTIVE = select(workers.c.id).where(workers.c.id == bindparam("worker"), workers.c.state == "active")
# How many tasks of an application are ready, or run on this worker.
_UNFINISHED = (
    select(func.count())
    .select_from(jobs.join(steps, steps.c.job_id == jobs.c.id))
    .where(
        jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
        jobs.c.kind == KIND,
        jobs.c.requires == bindparam("label"),
        or_(
            steps.c.state == StepState.READY,
            steps.c.state.in_(STEP_LIVE) & (steps.c.worker_id == bindparam("worker")),
        ),
    )
)


def key_of(huey_id: str, token: str) -> str:
    """The key of the job of one message. A task that is retried by Huey has one message for each try; the job has the
    key of the first."""
    return f"{_PREFIX}{_bounded(huey_id)}:{token}"


def _bounded(huey_id: str) -> str:
    """An id of any length, as a key may hold it."""
    return huey_id if len(huey_id) <= _LONGEST_ID else hashlib.sha256(huey_id.encode()).hexdigest()


def is_known(connection: Connection, huey_id: str, token: str) -> bool:
    """Whether this message has become a job, or a try of one."""
    query = select(jobs.c.key, jobs.c.params).where(_of(huey_id))
    wanted = key_of(huey_id, token)
    return any(key == wanted or token in params.get("tokens", ()) for key, params in connection.execute(query))


def places(connection: Connection, label: str, worker_id: int, workers_of_app: int) -> int:
    """How many more messages this worker may take: it is active, and fewer tasks are unfinished than may run."""
    if connection.execute(_ACTIVE, {"worker": worker_id}).first() is None or is_paused(connection):
        return 0
    unfinished = connection.execute(_UNFINISHED, {"worker": worker_id, "label": labels.stored([label])}).scalar() or 0
    return max(0, workers_of_app - int(unfinished))


def has_ended(connection: Connection, label: str) -> bool:
    """Whether the step `JOB/STEP` of this store has ended. A label of another store is unknown here."""
    job_id, _, name = label.partition("/")
    state = connection.execute(select(steps.c.state).where(steps.c.job_id == job_id, steps.c.name == name)).scalar()
    return state in STEP_FINAL


def job_named(connection: Connection, name: str) -> str:
    """The id of the job that `name` means: its own id, or the id of a Huey task, whose newest job it is."""
    if connection.execute(select(jobs.c.seq).where(jobs.c.id == name)).first() is not None:
        return name
    return newest(connection, name) or name


def newest(connection: Connection, huey_id: str) -> str | None:
    query = select(jobs.c.id).where(_of(huey_id)).order_by(jobs.c.seq.desc()).limit(1)
    found: str | None = connection.execute(query).scalar()
    return found


def _of(huey_id: str) -> ColumnElement[bool]:
    """The jobs of a Huey task: a range of the index on keys."""
    start = f"{_PREFIX}{_bounded(huey_id)}:"
    return (jobs.c.key >= start) & (jobs.c.key < start[:-1] + ";")


def old_successes(connection: Connection, before: float, most: int, limit: int) -> list[str]:
    """Ids of tasks that succeeded before then (Unix seconds), or that have `most` newer ones; the oldest first."""
    ended = (jobs.c.kind == KIND) & (jobs.c.state == JobState.SUCCEEDED)
    beyond = select(jobs.c.seq).where(ended).order_by(jobs.c.seq.desc()).offset(most).limit(1)
    newest = connection.execute(beyond).scalar()
    too_old = jobs.c.finished_at < before
    wanted = too_old if newest is None else too_old | (jobs.c.seq <= newest)
    query = select(jobs.c.id).where(ended, wanted).order_by(jobs.c.seq).limit(limit)
    return list(connection.execute(query).scalars())


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the rows and events of succeeded tasks."""
    done = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.kind == KIND, jobs.c.state == JobState.SUCCEEDED)
    ids = list(connection.execute(done).scalars())
    for table in (event_rows, artifacts, attempts, steps):
        connection.execute(delete(table).where(table.c.job_id.in_(ids)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
