"""Store a new job, and advance a job: its workflow plans the next steps, and the plan is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

from sqlalchemy import Connection, bindparam, select

from qmrunner.model import labels
from qmrunner.model.job_filter import LONGEST_STRUCTURE
from qmrunner.model.jobs import Demand, Job, Plan, Step, StepSpec, Submission, may_start
from qmrunner.model.states import STEP_LIVE, JobState, StepState
from qmrunner.store import events, huey_reports, locks
from qmrunner.store.jobs import get, of_job
from qmrunner.store.tables import jobs, steps
from qmrunner.store.transitions import move_job, move_step


class Planner(Protocol):
    """A workflow, with every step's demand filled in."""

    def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
        """From a job and its steps so far to what comes next."""
        ...

    def waits_for_all(self, job: Job, stage: str) -> bool:
        """Whether the plan stays the same until every step of this `stage` has ended, with or without success."""
        ...


# Built once: they are executed for each task of an application.
_ADD, _ADD_JOB = steps.insert(), jobs.insert()
_DEMAND = tuple(field.name for field in fields(Demand))
# Narrow: of a job with thousands of steps the rest takes most of the time, and each step's end reads it.
_WAITS = (
    select(steps.c.id, steps.c.name, steps.c.state, steps.c.after)
    .where(steps.c.job_id == bindparam("job"))
    .order_by(steps.c.id)
)


def accept(
    connection: Connection, now: float, job_id: str, submission: Submission, planner: Planner, **where: Any
) -> None:
    """Insert the job with its first steps. The id is valid for the user once this is committed. `where`: fields of the
    event that name the place of its files, if only one machine may reach it."""
    row = {
        "id": job_id,
        "kind": submission.kind,
        "state": JobState.QUEUED,
        "params": dict(submission.params),
        "name": submission.name,
        "priority": submission.priority,
        "key": submission.key,
        "owner": submission.owner,
        "requires": labels.stored(submission.requires) or None,
        "request_digest": submission.request_digest,
        "group": submission.group,
        **_identity(submission),
        "cancel_requested": False,
        "created_at": now,
    }
    connection.execute(_ADD_JOB, row)
    events.append(connection, now, "job_accepted", job_id=job_id, kind=submission.kind, name=submission.name, **where)
    advance(connection, now, job_id, planner)


def _identity(submission: Submission) -> dict[str, str | None]:
    """What finds the job by its molecule."""
    smiles, inchikey = submission.params.get("smiles"), submission.params.get("inchikey")
    return {"structure": smiles if smiles and len(smiles) <= LONGEST_STRUCTURE else None, "inchikey": inchikey}


def advance(connection: Connection, now: float, job_id: str, planner: Planner) -> int:
    """Plan the next steps and write them. Returns how many steps became ready."""
    locks.hold_job(connection, job_id)
    return advance_held(connection, now, get(connection, job_id), planner)


def advance_held(connection: Connection, now: float, job: Job, planner: Planner) -> int:
    """`advance` for a job that was read after this transaction locked it."""
    job_id = job.id
    if job.state not in (JobState.QUEUED, JobState.RUNNING, JobState.HELD):
        return 0
    known = of_job(connection, job_id)
    plan = planner(job, known)
    if job.cancel_requested and not (plan.end and plan.end.state == "succeeded"):
        _add(connection, now, job, plan.add, {step.name for step in known})
        give_up(connection, now, job_id)
        return 0
    _add(connection, now, job, plan.add, {step.name for step in known})
    for step in known:
        if step.name in plan.skip:
            move_step(connection, now, step.id, "skip")
    if plan.end is not None:
        _wind_down(connection, now, job, known, plan)
        return 0
    if any(step.state is StepState.HELD for step in known):
        held = next(step for step in known if step.state is StepState.HELD)
        if move_job(connection, now, job_id, "hold", code=held.code, summary=held.summary):
            events.append(connection, now, "job_held", job_id=job_id, step=held.name, code=held.code)
            huey_reports.of_held(connection, now, job, known)
    return _promote(connection, now, job_id)


def _add(connection: Connection, now: float, job: Job, specs: Sequence[StepSpec], known: set[str]) -> None:
    rows = [_row(now, job, spec) for spec in specs if spec.name not in known]
    if rows:
        connection.execute(_ADD, rows)


def _row(now: float, job: Job, spec: StepSpec) -> dict[str, Any]:
    demand = spec.demand or Demand()
    return {
        "job_id": job.id,
        "name": spec.name,
        "stage": spec.stage,
        "engine": spec.engine,
        "task": spec.task,
        "params": dict(spec.params),
        "inputs": dict(spec.inputs),
        "after": list(spec.after),
        "demand": {name: getattr(demand, name) for name in _DEMAND},  # not `asdict`, which copies deeply
        "state": StepState.WAITING,
        "priority": job.priority,
        "result": {},
        "attempt": 0,
        "retries": 0,
        "created_at": now,
    }


def _promote(connection: Connection, now: float, job_id: str) -> int:
    """Make waiting steps ready whose earlier steps have ended (see `may_start`)."""
    known = connection.execute(_WAITS, {"job": job_id}).all()
    states = {step.name: StepState(step.state) for step in known}
    promoted = 0
    for step in known:
        if states[step.name] is StepState.WAITING and may_start(step.after, states):
            promoted += move_step(connection, now, step.id, "ready")
    return promoted


def _wind_down(connection: Connection, now: float, job: Job, known: Sequence[Step], plan: Plan) -> None:
    """Skip the steps that have not started, and end the job. While attempts run, only a success ends it at once."""
    assert plan.end is not None
    for step in known:
        if step.state in (StepState.WAITING, StepState.READY):
            move_step(connection, now, step.id, "skip")
    if any(step.state in STEP_LIVE for step in known) and plan.end.state != "succeeded":
        return
    move = {"succeeded": "succeed", "failed": "fail", "cancelled": "cancel", "held": "hold"}[plan.end.state]
    _end(connection, now, job.id, move, code=plan.end.code, summary=plan.end.summary)


def give_up(connection: Connection, now: float, job_id: str) -> None:
    """Cancel the steps that have not started, and the job once no step runs. The steps that the workflow planned next
    are among the cancelled ones, so that `retry` can resume there.
    """
    known = of_job(connection, job_id)
    for step in known:
        if step.state in (StepState.WAITING, StepState.READY, StepState.HELD):
            move_step(connection, now, step.id, "cancel", code="cancelled")
    if not any(step.state in STEP_LIVE for step in known):
        _end(connection, now, job_id, "cancel", code="cancelled", summary="cancelled by request")


def _end(connection: Connection, now: float, job_id: str, move: str, *, code: str | None, summary: str | None) -> None:
    if move_job(connection, now, job_id, move, code=code, summary=summary):
        events.append(connection, now, f"job_{_past(move)}", job_id=job_id, code=code, summary=summary)
        if move == "cancel":
            huey_reports.of_cancelled(connection, now, get(connection, job_id), of_job(connection, job_id))


def _past(move: str) -> str:
    return {"succeed": "succeeded", "fail": "failed", "cancel": "cancelled", "hold": "held"}[move]
