"""Jobs that only report to a Huey application how one of its tasks ended, because the task itself could not.

A cancelled job cannot have another step, and a held one starts none: the report is a separate job, stored in the
transaction that ends or holds the task's job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, select

from qmrunner.model import labels
from qmrunner.model.app_tasks import TASK, TELL, demand_of, newest_try
from qmrunner.model.jobs import Job, Step
from qmrunner.model.states import JobState, StepState
from qmrunner.store import events
from qmrunner.store.jobs import new_id
from qmrunner.store.tables import jobs, steps

KIND = "huey"


def of_cancelled(connection: Connection, now: float, job: Job, known: Sequence[Step]) -> None:
    """Report a cancelled task, unless its own process has done so."""
    if any(step.result for step in newest_try(job.params, known)):  # an end that was reported has a result
        return
    _report(connection, now, job, known, "cancelled by request", as_cancelled=True)


def of_held(connection: Connection, now: float, job: Job, known: Sequence[Step]) -> None:
    """Report a task that is held because its attempts took their workers down."""
    held = next((step for step in known if step.state is StepState.HELD and step.code == "poison"), None)
    if held is not None:
        _report(connection, now, job, known, f"held: {held.summary}", as_cancelled=False)


def _report(
    connection: Connection, now: float, job: Job, known: Sequence[Step], why: str, *, as_cancelled: bool
) -> None:
    task = next((step for step in newest_try(job.params, known) if step.stage == TASK), None)
    if job.kind != KIND or task is None or "reports" in job.params:
        return
    # One report for each run that an operator allowed.
    key = f"report:{job.id}:{task.attempt}" if task.name == TASK else f"report:{job.id}/{task.name}:{task.attempt}"
    if connection.execute(select(jobs.c.id).where(jobs.c.key == key)).first() is not None:
        return
    report_id = new_id()
    about = {name: job.params[name] for name in ("app", "task", "huey_id") if name in job.params}
    connection.execute(
        jobs.insert().values(
            id=report_id,
            kind=KIND,
            state=JobState.QUEUED,
            params=about | {"reports": job.id},
            name=f"report of {job.name or job.id}"[:200],
            priority=job.priority,
            key=key,
            requires=labels.stored(job.requires) or None,
            cancel_requested=False,
            created_at=now,
        )
    )
    about_end = {"attempts": task.attempt, "why": why, "of": job.id, "as": "cancelled" if as_cancelled else "died"}
    about_end |= {"reported": task.name}
    connection.execute(
        steps.insert().values(
            job_id=report_id,
            name=TELL,
            stage=TELL,
            engine=KIND,
            task=TELL,
            params=dict(task.params) | about_end,
            inputs={},
            after=[],
            demand=asdict(demand_of({})),
            state=StepState.READY,
            priority=job.priority,
            result={},
            attempt=0,
            retries=0,
            created_at=now,
        )
    )
    events.append(connection, now, "job_accepted", job_id=report_id, kind=KIND, name=f"report of {job.id}")
