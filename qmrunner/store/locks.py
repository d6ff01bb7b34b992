"""Row locks on PostgreSQL. SQLite has one writer at a time and needs none: there these statements only read.

The order is worker, job, step. Ending, cancelling and retrying lock the job first, so that two of its steps that end
at the same time see each other. A claim never waits: it skips rows that another transaction has locked (SKIP LOCKED).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from qmrunner.model.jobs import Step
from qmrunner.model.states import JobState, StepState
from qmrunner.store.tables import jobs, steps


def hold_job(connection: Connection, job_id: str) -> None:
    """Until this transaction ends, no other transaction moves this job or starts a step of it."""
    if connection.dialect.name != "sqlite":
        connection.execute(select(jobs.c.seq).where(jobs.c.id == job_id).with_for_update(key_share=True)).first()


def take(connection: Connection, step: Step, *, alone: bool = False) -> bool:
    """Lock a ready step and its job for a claim. False: one of them is locked, or the step is no longer ready.

    `alone`: the job will be changed, too.
    """
    if connection.dialect.name == "sqlite":
        return True
    job = select(jobs.c.state).where(jobs.c.id == step.job_id, jobs.c.cancel_requested.is_(False))
    state = connection.execute(job).scalar()
    # The first claim of a job also moves the job. Later claims may run concurrently.
    mode: dict[str, Any] = {"key_share": True} if alone or state == JobState.QUEUED else {"read": True}
    locked = job.where(jobs.c.state == state).with_for_update(skip_locked=True, **mode)
    if state not in (JobState.QUEUED, JobState.RUNNING) or connection.execute(locked).first() is None:
        return False
    own = select(steps.c.id).where(
        steps.c.id == step.id, steps.c.state == StepState.READY, steps.c.attempt == step.attempt
    )
    return connection.execute(own.with_for_update(key_share=True, skip_locked=True)).first() is not None


def unlocked(step_ids: Sequence[int]) -> Any:
    """A subquery: the given steps that are ready and that no other transaction has locked."""
    ready = select(steps.c.id).where(steps.c.id.in_(step_ids), steps.c.state == StepState.READY)
    return ready.with_for_update(key_share=True, skip_locked=True)
