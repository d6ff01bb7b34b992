"""Actions of operators on jobs: cancel, retry, hold, release, and a new priority.

`by` is the name of the token or the login of the person, for the event.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, update

from qmrunner.errors import UsageError
from qmrunner.model import app_tasks, remedies
from qmrunner.model.jobs import Job, may_start
from qmrunner.model.states import JobState, StepState
from qmrunner.store import events, locks, unsent_jobs
from qmrunner.store.advance import give_up
from qmrunner.store.jobs import get, of_job
from qmrunner.store.tables import jobs, steps
from qmrunner.store.transitions import move_job, move_step

# The states in which a job may be moved.
ALLOWED: dict[str, tuple[JobState, ...]] = {
    "cancel": (JobState.QUEUED, JobState.RUNNING, JobState.HELD),
    "retry": (JobState.FAILED, JobState.CANCELLED),
    "hold": (JobState.QUEUED, JobState.RUNNING),
    "release": (JobState.HELD,),
    "priority": (JobState.QUEUED, JobState.RUNNING, JobState.HELD),
}


def cancel(connection: Connection, now: float, job_id: str, *, by: str | None = None) -> Job:
    """Request the end of a job. Waiting steps end now; running ones are stopped by their workers."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, "cancel")
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
    events.append(connection, now, "cancel_requested", job_id=job_id, by=by)
    give_up(connection, now, job_id)
    return get(connection, job_id)


def retry(
    connection: Connection, now: float, job_id: str, allow_altering: bool = False, *, by: str | None = None
) -> Job:
    """Reset the unsuccessful steps of a failed or cancelled job to what was planned. Succeeded steps are kept. Held if
    its files are not in the artifact store that was set meanwhile.

    `allow_altering`: remedies of this job may alter the result from now on.
    """
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, "retry")
    if allow_altering:
        connection.execute(
            update(jobs).where(jobs.c.id == job_id).values(params={**job.params, "allow_altering": True})
        )
    known = of_job(connection, job_id)
    if job.kind == app_tasks.ENGINE:
        known = app_tasks.newest_try(job.params, known)  # Huey itself repeated those before
    # Every unsuccessful step is reset, so none of these counts as ended.
    states = {step.name: step.state for step in known if step.state is StepState.SUCCEEDED}
    fresh: dict[str, Any] = {"finished_at": None, "code": None, "failure_class": None, "evidence": None}
    fresh |= {"remedy": None, "summary": None, "not_before": None, "retries": 0, "result": {}}
    for step in known:
        if remedies.replaced(step) and any(one.stage == step.stage and one.id != step.id for one in known):
            continue  # another step replaces it
        params, demand = remedies.undone(step.params, step.demand)
        fresh |= {"params": params, "demand": asdict(demand)}
        if step.state in (StepState.CANCELLED, StepState.SKIPPED) and not may_start(step.after, states):
            move_step(connection, now, step.id, "rewait", **fresh)
        elif step.state is StepState.SKIPPED:
            move_step(connection, now, step.id, "rewait", **fresh)
            move_step(connection, now, step.id, "ready")
        else:
            move_step(connection, now, step.id, "retry", **fresh)
    move_job(connection, now, job_id, "retry")
    events.append(connection, now, "job_retried", job_id=job_id, by=by)
    unsent_jobs.hold_unsent(connection, now, job_id)
    return get(connection, job_id)


def hold(connection: Connection, now: float, job_id: str, *, by: str | None = None) -> Job:
    """Start no more steps of this job. Running steps run to their end."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, "hold")
    move_job(connection, now, job_id, "hold", code="held_by_operator", summary="held by an operator")
    events.append(connection, now, "job_held", job_id=job_id, code="held_by_operator", by=by)
    return get(connection, job_id)


def release(connection: Connection, now: float, job_id: str, *, by: str | None = None) -> Job:
    """Resume a held job, including its held steps. Held again if its files are not in the artifact store."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, "release")
    for step in of_job(connection, job_id):
        if step.state is StepState.HELD:
            move_step(connection, now, step.id, "release", code=None, summary=None, remedy=None, not_before=None)
    move_job(connection, now, job_id, "release")
    events.append(connection, now, "job_released", job_id=job_id, by=by)
    unsent_jobs.hold_unsent(connection, now, job_id)
    return get(connection, job_id)


def priority(connection: Connection, now: float, job_id: str, value: int, *, by: str | None = None) -> Job:
    """Set the priority of a job and of its steps that have not started."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, "priority")
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=value))
    unstarted = steps.c.state.in_((StepState.WAITING, StepState.READY, StepState.HELD))
    connection.execute(update(steps).where(steps.c.job_id == job_id, unstarted).values(priority=value))
    events.append(connection, now, "priority_set", job_id=job_id, priority=value, was=job.priority, by=by)
    return get(connection, job_id)


def _refuse(job: Job, verb: str) -> None:
    if job.state not in ALLOWED[verb]:
        raise UsageError(
            "wrong_state",
            f"job {job.id} is {job.state}; {verb} needs it to be {' or '.join(ALLOWED[verb])}",
            remedy=f"`qmrunner status {job.id}` shows where it stands",
        )
