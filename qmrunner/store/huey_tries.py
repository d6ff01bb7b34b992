"""The tries of a Huey task that Huey retries: one job, reopened by the message of the next try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, update

from qmrunner.model import app_tasks
from qmrunner.model.states import JOB_FINAL, JobState
from qmrunner.store import events, huey_jobs, locks
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import Planner, advance
from qmrunner.store.tables import jobs
from qmrunner.store.transitions import move_job


@dataclass(frozen=True, slots=True)
class Taken:
    """`job_id`: the job that a message is the next try of. `unfinished`: a job of the task that has not ended yet."""

    job_id: str | None
    unfinished: str | None = None


def accept(connection: Connection, now: float, huey_id: str, params: Mapping[str, Any], planner: Planner) -> Taken:
    """Add the next try to the job that waits for it: Huey puts a task back under the same id."""
    job_id = huey_jobs.newest(connection, huey_id)
    if job_id is None:
        return Taken(None)
    locks.hold_job(connection, job_id)
    job = job_store.get(connection, job_id)
    if job.state != JobState.FAILED:
        return Taken(None, unfinished=None if job.state in JOB_FINAL else job_id)
    if not app_tasks.waits_for_huey(job.params, job_store.of_job(connection, job_id)):
        return Taken(None)
    count = {"tries": int(job.params.get("tries", 1)) + 1}
    tokens = [*job.params.get("tokens", ()), params["token"]]
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(params={**job.params, **params, **count, "tokens": tokens})
    )
    move_job(connection, now, job_id, "retry")
    events.append(connection, now, "job_retried", job_id=job_id, by=huey_jobs.KIND)
    advance(connection, now, job_id, planner)
    return Taken(job_id)
