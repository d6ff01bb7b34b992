"""Claim, start, finish: the protocol by which an attempt owns a step.

Whoever holds the newest attempt number may finish the step, once. Every statement from `claim` on names that number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from qmrunner.model import remedies
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.model.packing import PATIENCE, Candidate, Capacity, can_ever_fit, choose
from qmrunner.model.policy import RETRY_DELAY_CAP_S, Verdict
from qmrunner.model.shortage import never_fits, shortages, waits_for
from qmrunner.model.space import REASONS, Room, after_stop_mib
from qmrunner.model.states import JOB_FINAL, AttemptState, JobState, StepState
from qmrunner.store import events, molding, peaks
from qmrunner.store import jobs as job_store
from qmrunner.store.jobs import Planner
from qmrunner.store.moves import move_job, move_step
from qmrunner.store.reserved import Left, left_of, lock
from qmrunner.store.rows import evidence_json, to_step
from qmrunner.store.tables import attempts, control, jobs, reservations, steps, workers

_CANDIDATES = 64
MORE_CORES = "cores that are about to come back: with more of them it ends sooner"
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)
_UNMEASURED = Room()


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt, owned. `job` and `step` are as they were in the claiming commit."""

    job: Job
    step: Step
    number: int
    worker_id: int
    grant: Grant
    directory: str
    log: str
    marker: str


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the attempts of a worker live: functions of (job id, step name, attempt number)."""

    directory: Callable[[str, str, int], str]
    log: Callable[[str, str, int], str]


def marker_of(job_id: str, step: str, number: int) -> str:
    """The value of QMRUNNER_ATTEMPT in every process of this attempt."""
    return f"{job_id}/{step}/{number}"


def any_ready(connection: Connection, now: float) -> bool:
    """Whether there is anything to claim: a cheap look before the write lock is taken."""
    return connection.execute(_ready_steps(now).limit(1)).first() is not None


def ready_before(connection: Connection, now: float, step_id: int) -> int:
    """How many ready steps come before this one; 0 when it may not be claimed now."""
    order = [row.id for row in connection.execute(_ready_steps(now))]
    return order.index(step_id) if step_id in order else 0


def next_ready_at(connection: Connection, now: float) -> float | None:
    """When the next delayed step may be claimed, Unix seconds."""
    query = select(func.min(steps.c.not_before)).where(steps.c.state == StepState.READY, steps.c.not_before > now)
    return connection.execute(query).scalar()


def _ready_steps(now: float) -> Any:
    return (
        select(steps)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(
            steps.c.state == StepState.READY,
            jobs.c.state.in_(_UNFINISHED),
            jobs.c.cancel_requested.is_(False),
            or_(
                steps.c.not_before.is_(None),
                steps.c.not_before <= now,
                # Further away than any retry delay: the clock was stepped back since.
                steps.c.not_before > now + 2 * RETRY_DELAY_CAP_S,
            ),
        )
        .order_by(steps.c.priority.desc(), jobs.c.seq, steps.c.id)
    )


def ready(connection: Connection, now: float) -> list[Step]:
    """The steps that may be claimed, the best first; as many as a claim looks at."""
    return [to_step(row) for row in connection.execute(_ready_steps(now).limit(_CANDIDATES))]


def claim(
    connection: Connection, now: float, worker_id: int, capacity: Capacity, paths: Paths, room: Room = _UNMEASURED
) -> Claim | None:
    """Take the best ready step that fits, with its resources, in this transaction; None when there is none.

    `room` is what the worker has just found really free. Why a ready step does not start is written to it.
    """
    lock(connection, worker_id, capacity)
    active = select(workers.c.id).where(workers.c.id == worker_id, workers.c.state == "active")
    if connection.execute(active).first() is None or is_paused(connection):
        return None
    waiting = ready(connection, now)
    demands = peaks.demands(connection, waiting)
    sized = [step if step.demand == (need := demands[step.id]) else replace(step, demand=need) for step in waiting]
    found = _without_misfits(connection, now, sized)
    left = left_of(connection, worker_id, capacity, room)
    # What cannot fit even when all that runs has ended must not hold up the others.
    here = [step for step in found if room.blocked is None and can_ever_fit(step.demand, left.idle)]
    wanted = molding.cores_wanted(connection, now, worker_id, here, left.now)
    picked = choose([Candidate(step.id, step.demand, step.passed_over) for step in here], left.now, wanted)
    blocked = MORE_CORES if wanted == 0 and not room.blocked else room.blocked
    _note_waits(connection, found, left, worker_id, blocked, picked[0].step_id if picked else None)
    if picked is None:
        return None
    candidate, grant = picked
    step = next(step for step in found if step.id == candidate.step_id)
    earlier = [one.id for one in here[: here.index(step)]]
    if earlier:
        connection.execute(update(steps).where(steps.c.id.in_(earlier)).values(passed_over=steps.c.passed_over + 1))
    number = step.attempt + 1
    taken = move_step(
        connection,
        now,
        step.id,
        "claim",
        fence=step.attempt,
        attempt=number,
        worker_id=worker_id,
        not_before=None,
        passed_over=0,
        waits_for=None,
        started_at=step.started_at.timestamp() if step.started_at else now,
    )
    if not taken:
        return None
    result = Claim(
        job=job_store.get(connection, step.job_id),
        step=step,
        number=number,
        worker_id=worker_id,
        grant=grant,
        directory=paths.directory(step.job_id, step.name, number),
        log=paths.log(step.job_id, step.name, number),
        marker=marker_of(step.job_id, step.name, number),
    )
    _record_claim(connection, now, result)
    return result


def _without_misfits(connection: Connection, now: float, found: list[Step]) -> list[Step]:
    """Hold what no worker of this store could ever run, with the numbers; return the rest."""
    columns = (workers.c.slots, workers.c.cores, workers.c.memory_mib, workers.c.scratch_mib, workers.c.shm_mib)
    capacities = [Capacity(*row) for row in connection.execute(select(*columns).where(workers.c.state == "active"))]
    kept = []
    for step in found:
        if any(can_ever_fit(step.demand, one) for one in capacities):
            kept.append(step)
            continue
        summary, remedy = never_fits(step.name, step.job_id, step.demand, capacities)
        values: dict[str, Any] = {"code": "never_fits", "failure_class": "resource", "summary": summary}
        move_step(connection, now, step.id, "hold", remedy=remedy, waits_for=None, **values)
        move_job(connection, now, step.job_id, "hold", code="never_fits", summary=summary)
        events.append(connection, now, "step_held", job_id=step.job_id, step=step.name, code="never_fits")
    return kept


def _note_waits(
    connection: Connection, found: list[Step], left: Left, worker_id: int, blocked: str | None, chosen: int | None
) -> None:
    """What each ready step lacks that this worker looked at and did not take; written only where it changes."""
    patient: Step | None = None
    for step in found:
        if step.id == chosen:
            break
        short = shortages(step.demand, left.now)
        if blocked is not None:
            text: str | None = f"{blocked} (worker {worker_id})"
        elif short:
            text = waits_for(short, worker_id)
        else:
            text = f"{patient.job_id}/{patient.name}, which goes first: others have passed it" if patient else None
        if patient is None and short and step.passed_over >= PATIENCE and can_ever_fit(step.demand, left.idle):
            patient = step
        if text != step.waits_for:
            connection.execute(update(steps).where(steps.c.id == step.id).values(waits_for=text))


def _record_claim(connection: Connection, now: float, claim: Claim) -> None:
    step, grant = claim.step, asdict(claim.grant)
    connection.execute(
        attempts.insert().values(
            step_id=step.id,
            number=claim.number,
            job_id=step.job_id,
            state=AttemptState.CLAIMED,
            worker_id=claim.worker_id,
            marker=claim.marker,
            directory=claim.directory,
            log=claim.log,
            progress={},
            usage={},
            granted=grant,
            notes=list(remedies.notes(step.params)),  # `start` adds the engine's; a short run may never come to it
            created_at=now,
        )
    )
    connection.execute(
        reservations.insert().values(step_id=step.id, attempt=claim.number, worker_id=claim.worker_id, **grant)
    )
    move_job(connection, now, step.job_id, "start", started_at=func.coalesce(jobs.c.started_at, now))
    events.append(
        connection,
        now,
        "step_claimed",
        job_id=step.job_id,
        step=step.name,
        attempt=claim.number,
        worker_id=claim.worker_id,
        cores=claim.grant.cores,
    )


def start(
    connection: Connection,
    now: float,
    *,
    step_id: int,
    number: int,
    guardian: Mapping[str, Any],
    engine_pid: int | None,
    notes: tuple[str, ...],
) -> bool:
    """Record the running engine. False: this attempt has been fenced off."""
    if not move_step(connection, now, step_id, "start", fence=number):
        return False
    connection.execute(
        update(attempts)
        .where(attempts.c.step_id == step_id, attempts.c.number == number)
        .values(
            state=AttemptState.RUNNING,
            guardian=dict(guardian),
            engine_pid=engine_pid,
            notes=list(notes),
            started_at=now,
        )
    )
    return True


def finish(
    connection: Connection,
    now: float,
    *,
    step_id: int,
    number: int,
    verdict: Verdict,
    usage: Mapping[str, Any],
    planner: Planner,
    content_key: str | None = None,
    publish: Callable[[], None] | None = None,
    ended: Callable[[Job, list[Step]], None] | None = None,
) -> int | None:
    """End an attempt and let its job go on, in one commit.

    `content_key` is kept with a success, so that an identical step finds it. `publish` runs once the fence is passed;
    `ended` with the job and its steps when this was the job's end.

    Returns how many steps are ready now, or None when this attempt has been fenced off: nothing was changed then.
    """
    row = connection.execute(select(steps).where(steps.c.id == step_id)).one()
    values: dict[str, Any] = {
        "code": None if verdict.move == "succeed" else verdict.code,
        "failure_class": verdict.failure_class,
        "evidence": evidence_json(verdict.evidence),
        "remedy": verdict.remedy,
        "summary": verdict.summary,
        "worker_id": None if verdict.move == "requeue" else row.worker_id,
        "not_before": now + verdict.delay_s if verdict.delay_s else None,
        "retries": row.retries + verdict.spends_retry,
    }
    if verdict.move == "succeed":
        values |= {"result": dict(verdict.result), "content_key": content_key}
    if verdict.remedied is not None:
        values |= {"params": dict(verdict.remedied.params), "demand": asdict(verdict.remedied.demand)}
    if verdict.move == "requeue" and usage.get("stop_reason") in REASONS:
        held = _granted(connection, step_id, number)
        needed = after_stop_mib(held["scratch_mib"], usage.get("peak_scratch_mib") or 0.0)
        values["demand"] = {**row.demand, "scratch_least_mib": needed}
    if not move_step(connection, now, step_id, verdict.move, fence=number, **values):
        return None
    connection.execute(
        update(attempts)
        .where(attempts.c.step_id == step_id, attempts.c.number == number)
        .values(
            state=verdict.attempt_state,
            usage=dict(usage),
            code=verdict.code,
            summary=verdict.summary,
            finished_at=now,
        )
    )
    connection.execute(delete(reservations).where(reservations.c.step_id == step_id, reservations.c.attempt == number))
    if verdict.move == "succeed":
        peaks.record(connection, to_step(row), _granted(connection, step_id, number)["cores"], usage)
    if publish is not None:
        publish()
    events.append(
        connection,
        now,
        f"attempt_{verdict.attempt_state}",
        job_id=row.job_id,
        step=row.name,
        attempt=number,
        worker_id=row.worker_id,
        code=verdict.code,
        next=verdict.move,
        delay_s=verdict.delay_s or None,
        survivors=usage.get("survivors_ended") or None,
    )
    if verdict.remedied is not None:
        record = verdict.remedied.record
        told = {name: record[name] for name in ("remedy", "neutral", "code", "change")}
        events.append(connection, now, "step_remedied", job_id=row.job_id, step=row.name, attempt=number, **told)
    if verdict.move == "requeue" and not _winding_down(connection, row.job_id):
        return 1  # nothing about the job has changed: no need to ask its workflow
    ready = job_store.advance(connection, now, row.job_id, planner)
    job = job_store.get(connection, row.job_id)
    if ended is not None and job.state in JOB_FINAL:
        ended(job, job_store.of_job(connection, row.job_id))
    return ready + (verdict.move == "requeue")


def _granted(connection: Connection, step_id: int, number: int) -> dict[str, int]:
    query = select(attempts.c.granted).where(attempts.c.step_id == step_id, attempts.c.number == number)
    granted: dict[str, int] = connection.execute(query).scalar_one()
    return granted


def _winding_down(connection: Connection, job_id: str) -> bool:
    """Whether some step of the job has ended without success, so that the job may be coming to its end."""
    bad = (StepState.FAILED, StepState.CANCELLED, StepState.HELD, StepState.SKIPPED)
    query = select(steps.c.id).where(steps.c.job_id == job_id, steps.c.state.in_(bad)).limit(1)
    return connection.execute(query).first() is not None


def deaths_since(connection: Connection, step_id: int, since: float) -> int:
    """How many running attempts of a step were lost with their guardian or worker since then (Unix seconds)."""
    query = select(func.count()).where(
        attempts.c.step_id == step_id,
        attempts.c.state == AttemptState.LOST,
        attempts.c.code.in_(("guardian_lost", "worker_lost")),
        attempts.c.finished_at >= since,
    )
    return connection.execute(query).scalar() or 0


def is_paused(connection: Connection) -> bool:
    return connection.execute(select(control.c.value).where(control.c.name == "paused")).scalar() == "yes"
