"""Jobs and their steps: accept, look up, advance, and the moves that people make."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Column, Connection, bindparam, func, literal, select, union_all, update

from qmrunner.errors import NotFoundError, UsageError
from qmrunner.model import labels, remedies
from qmrunner.model.jobs import Demand, Job, Plan, Step, StepSpec, Submission, may_start
from qmrunner.model.states import JOB_FINAL, STEP_FINAL, STEP_LIVE, JobState, StepState
from qmrunner.store import events, locks
from qmrunner.store.moves import move_job, move_step
from qmrunner.store.rows import to_job, to_step
from qmrunner.store.tables import jobs, steps

# A workflow, with every step's demand filled in: from a job and its steps so far to what comes next.
Planner = Callable[[Job, Sequence[Step]], Plan]

# Counting costs time by the row: a store may hold millions that have ended.
COUNTED = 50_000
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.HELD)
# Built once: these are executed at every step's end.
_ADD = steps.insert()
_JOB = select(jobs).where(jobs.c.id == bindparam("job"))
_STEPS = select(steps).where(steps.c.job_id == bindparam("job")).order_by(steps.c.id)
_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"


def new_id() -> str:
    """Eight characters that can be read aloud: 30**8, about 6.6e11 ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


def known(connection: Connection, submission: Submission) -> str | None:
    """The id of the job that was handed in with this key; None when there is none.

    Raises UsageError `key_in_use` when that was another request, as far as its digest tells.
    """
    row = connection.execute(select(jobs.c.id, jobs.c.request_digest).where(jobs.c.key == submission.key)).first()
    if row is None:
        return None
    if None not in (submission.request_digest, row.request_digest) and submission.request_digest != row.request_digest:
        raise UsageError(
            "key_in_use",
            f"this idempotency key came with another request before, which is job {row.id}",
            remedy="repeat that request as it was, or choose a new key for a new job",
        )
    return str(row.id)


def accept(connection: Connection, now: float, job_id: str, submission: Submission, planner: Planner) -> None:
    """Insert the job with its first steps. The id may be told to the user once this is committed."""
    connection.execute(
        jobs.insert().values(
            id=job_id,
            kind=submission.kind,
            state=JobState.QUEUED,
            params=dict(submission.params),
            name=submission.name,
            priority=submission.priority,
            key=submission.key,
            owner=submission.owner,
            requires=labels.stored(submission.requires) or None,
            request_digest=submission.request_digest,
            cancel_requested=False,
            created_at=now,
        )
    )
    events.append(connection, now, "job_accepted", job_id=job_id, kind=submission.kind, name=submission.name)
    advance(connection, now, job_id, planner)


def advance(connection: Connection, now: float, job_id: str, planner: Planner) -> int:
    """Ask the workflow what comes next and do it. Returns how many steps became ready."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    if job.state not in (JobState.QUEUED, JobState.RUNNING, JobState.HELD):
        return 0
    known = of_job(connection, job_id)
    plan = planner(job, known)
    if job.cancel_requested and not (plan.end and plan.end.state == "succeeded"):
        _add(connection, now, job, plan.add, {step.name for step in known})
        _give_up(connection, now, job_id)
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
    return _promote(connection, now, job_id)


def _add(connection: Connection, now: float, job: Job, specs: Sequence[StepSpec], known: set[str]) -> None:
    for spec in specs:
        if spec.name in known:
            continue
        demand = spec.demand or Demand()
        row = {
            "job_id": job.id,
            "name": spec.name,
            "stage": spec.stage,
            "engine": spec.engine,
            "task": spec.task,
            "params": dict(spec.params),
            "inputs": dict(spec.inputs),
            "after": list(spec.after),
            "demand": asdict(demand),
            "state": StepState.WAITING,
            "priority": job.priority,
            "result": {},
            "attempt": 0,
            "retries": 0,
            "created_at": now,
        }
        connection.execute(_ADD, row)


def _promote(connection: Connection, now: float, job_id: str) -> int:
    """Waiting steps become ready once nothing is missing that they come after."""
    known = of_job(connection, job_id)
    states = {step.name: step.state for step in known}
    promoted = 0
    for step in known:
        if step.state is StepState.WAITING and may_start(step.after, states):
            promoted += move_step(connection, now, step.id, "ready")
    return promoted


def _wind_down(connection: Connection, now: float, job: Job, known: Sequence[Step], plan: Plan) -> None:
    """End the job, or, while attempts of it still run, ask those to stop first."""
    assert plan.end is not None
    for step in known:
        if step.state in (StepState.WAITING, StepState.READY):
            move_step(connection, now, step.id, "skip")
    if any(step.state in STEP_LIVE for step in known) and plan.end.state != "succeeded":
        return
    move = {"succeeded": "succeed", "failed": "fail", "cancelled": "cancel", "held": "hold"}[plan.end.state]
    _end(connection, now, job.id, move, code=plan.end.code, summary=plan.end.summary)


def _give_up(connection: Connection, now: float, job_id: str) -> None:
    """Cancel what has not started, and the job once nothing runs. What the workflow would have done next is among
    the cancelled steps, so that `retry` finds where to go on.
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


def _past(move: str) -> str:
    return {"succeed": "succeeded", "fail": "failed", "cancel": "cancelled", "hold": "held"}[move]


def get(connection: Connection, job_id: str) -> Job:
    """Raises NotFoundError for an id that the store does not know."""
    row = connection.execute(_JOB, {"job": job_id}).first()
    if row is None:
        raise _unknown(job_id)
    return to_job(row)


def checked_id(job_id: str) -> str:
    """The same text, which may be a job's id and a folder's name. Raises NotFoundError for one that can be neither."""
    if len(job_id) > 32 or not (job_id.isascii() and job_id.isalnum()):
        raise _unknown(job_id[:40])
    return job_id


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError("job_unknown", f"there is no job {job_id!r}", remedy="`qmrunner status` lists all jobs")


def get_all(connection: Connection, job_ids: Collection[str]) -> dict[str, Job]:
    """Those of the jobs that there are, by id."""
    rows = (row for part in _parts(job_ids) for row in connection.execute(select(jobs).where(jobs.c.id.in_(part))))
    return {row.id: to_job(row) for row in rows}


def all_steps(connection: Connection, step_ids: Collection[int]) -> dict[int, Step]:
    """Those of the steps that there are, by id."""
    rows = (row for part in _parts(step_ids) for row in connection.execute(select(steps).where(steps.c.id.in_(part))))
    return {row.id: to_step(row) for row in rows}


def _parts(values: Collection[Any], size: int = 500) -> Iterator[list[Any]]:
    """In pieces that fit into one statement."""
    listed = sorted(values)
    return (listed[i : i + size] for i in range(0, len(listed), size))


def of_job(connection: Connection, job_id: str) -> list[Step]:
    """All steps of a job in the order in which they were added."""
    return [to_step(row) for row in connection.execute(_STEPS, {"job": job_id}).all()]


def of_jobs(connection: Connection, job_ids: Collection[str]) -> dict[str, list[Step]]:
    """All steps of these jobs, by job, in the order in which they were added."""
    found: dict[str, list[Step]] = {job_id: [] for job_id in job_ids}
    for part in _parts(job_ids):
        for row in connection.execute(select(steps).where(steps.c.job_id.in_(part)).order_by(steps.c.id)):
            found[row.job_id].append(to_step(row))
    return found


def listing(connection: Connection, limit: int = 50, states: Sequence[str] = ()) -> list[Job]:
    """Jobs, unfinished ones first, then the newest. Read in the order of an index, however many there are."""
    found: list[Job] = []
    for part in (_UNFINISHED, JOB_FINAL):
        of_part = [state for state in part if not states or state in states]
        newest = [_newest(connection, state, limit - len(found)) for state in of_part]
        found += sorted((job for some in newest for job in some), key=lambda job: -job.seq)[: limit - len(found)]
    return found


def _newest(connection: Connection, state: str, limit: int) -> list[Job]:
    query = select(jobs).where(jobs.c.state == state).order_by(jobs.c.seq.desc()).limit(limit)
    return [to_job(row) for row in connection.execute(query)] if limit else []


def page(
    connection: Connection,
    limit: int,
    *,
    before: int | None = None,
    states: Collection[str] = (),
    kinds: Collection[str] = (),
    name: str | None = None,
) -> list[Job]:
    """Jobs, the newest first, from `before` (a `seq`) on; `name` is a part of theirs, whatever its case."""
    query = select(jobs).order_by(jobs.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.seq < before)
    if states:
        query = query.where(jobs.c.state.in_(states))
    if kinds:
        query = query.where(jobs.c.kind.in_(kinds))
    if name:
        query = query.where(jobs.c.name.icontains(name, autoescape=True))
    return [to_job(row) for row in connection.execute(query).all()]


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """How many jobs and steps there are by state; those that have ended are counted up to `COUNTED`."""
    return {
        "jobs": _counts(connection, jobs.c.state, JobState, JOB_FINAL),
        "steps": _counts(connection, steps.c.state, StepState, STEP_FINAL),
    }


def _counts(
    connection: Connection, column: Column[str], states: Iterable[str], final: Collection[str]
) -> dict[str, int]:
    parts = []
    for state in states:
        rows = select(literal(1)).where(column == state)
        some = (rows.limit(COUNTED) if state in final else rows).subquery()
        parts.append(select(literal(str(state)), func.count()).select_from(some))
    return {row[0]: row[1] for row in connection.execute(union_all(*parts)) if row[1]}


def cancel(connection: Connection, now: float, job_id: str) -> Job:
    """Ask for the end of a job. Waiting steps end now; running ones are stopped by their workers."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, (JobState.QUEUED, JobState.RUNNING, JobState.HELD), "cancel")
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
    events.append(connection, now, "cancel_requested", job_id=job_id)
    _give_up(connection, now, job_id)
    return get(connection, job_id)


def retry(connection: Connection, now: float, job_id: str, allow_altering: bool = False) -> Job:
    """Put the unsuccessful steps of a failed or cancelled job back, as they were planned. What succeeded is kept.

    `allow_altering`: from now on remedies of this job may alter the answer.
    """
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, (JobState.FAILED, JobState.CANCELLED), "retry")
    if allow_altering:
        connection.execute(
            update(jobs).where(jobs.c.id == job_id).values(params={**job.params, "allow_altering": True})
        )
    known = of_job(connection, job_id)
    # All that did not succeed is put back, so nothing of it is over.
    states = {step.name: step.state for step in known if step.state is StepState.SUCCEEDED}
    fresh: dict[str, Any] = {"finished_at": None, "code": None, "failure_class": None, "evidence": None}
    fresh |= {"remedy": None, "summary": None, "not_before": None, "retries": 0}
    for step in known:
        if remedies.replaced(step) and any(one.stage == step.stage and one.id != step.id for one in known):
            continue  # another step does its work
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
    events.append(connection, now, "job_retried", job_id=job_id)
    return get(connection, job_id)


def hold(connection: Connection, now: float, job_id: str) -> Job:
    """Start no more steps of this job. Running ones go on to their end."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, (JobState.QUEUED, JobState.RUNNING), "hold")
    move_job(connection, now, job_id, "hold", code="held_by_operator", summary="held by an operator")
    events.append(connection, now, "job_held", job_id=job_id, code="held_by_operator")
    return get(connection, job_id)


def release(connection: Connection, now: float, job_id: str) -> Job:
    """Let a held job go on, its held steps included."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    _refuse(job, (JobState.HELD,), "release")
    for step in of_job(connection, job_id):
        if step.state is StepState.HELD:
            move_step(connection, now, step.id, "release", code=None, summary=None, remedy=None, not_before=None)
    move_job(connection, now, job_id, "release")
    events.append(connection, now, "job_released", job_id=job_id)
    return get(connection, job_id)


def _refuse(job: Job, allowed: tuple[JobState, ...], verb: str) -> None:
    if job.state not in allowed:
        raise UsageError(
            "wrong_state",
            f"job {job.id} is {job.state}; {verb} needs it to be {' or '.join(allowed)}",
            remedy=f"`qmrunner status {job.id}` shows where it stands",
        )
