"""Claim, start, finish: the protocol by which an attempt owns a step.

Whoever holds the newest attempt number may finish the step, once. Every statement from `claim` on names that number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from qmrunner.model import remedies
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.model.packing import Candidate, Capacity, Free, can_ever_fit, choose
from qmrunner.model.policy import RETRY_DELAY_CAP_S, Verdict
from qmrunner.model.states import JOB_FINAL, AttemptState, JobState, StepState
from qmrunner.store import events
from qmrunner.store import jobs as job_store
from qmrunner.store.jobs import Planner
from qmrunner.store.moves import move_job, move_step
from qmrunner.store.rows import evidence_json, to_step
from qmrunner.store.tables import attempts, control, jobs, reservations, steps, workers

_CANDIDATES = 64
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


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


def free_of(connection: Connection, worker_id: int, capacity: Capacity) -> Free:
    """What the reservations of this worker leave of its capacity."""
    held = reservations.c
    used = connection.execute(
        select(func.count(), func.coalesce(func.sum(held.cores), 0), func.coalesce(func.sum(held.memory_mib), 0)).where(
            held.worker_id == worker_id
        )
    ).one()
    return Free(capacity.slots - used[0], capacity.cores - used[1], capacity.memory_mib - used[2])


def claim(connection: Connection, now: float, worker_id: int, capacity: Capacity, paths: Paths) -> Claim | None:
    """Take the best ready step that fits, with its resources, in this transaction; None when there is none."""
    # The row lock keeps two threads of one worker from handing out the same cores (SQLite has one writer anyway).
    active = select(workers.c.id).where(workers.c.id == worker_id, workers.c.state == "active").with_for_update()
    if connection.execute(active).first() is None or is_paused(connection):
        return None
    ready = connection.execute(_ready_steps(now).limit(_CANDIDATES)).all()
    found = _without_misfits(connection, now, [to_step(row) for row in ready])
    picked = choose([Candidate(step.id, step.demand) for step in found], free_of(connection, worker_id, capacity))
    if picked is None:
        return None
    candidate, grant = picked
    step = next(step for step in found if step.id == candidate.step_id)
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
    query = select(workers.c.slots, workers.c.cores, workers.c.memory_mib).where(workers.c.state == "active")
    capacities = [Capacity(row.slots, row.cores, row.memory_mib) for row in connection.execute(query)]
    kept = []
    for step in found:
        if any(can_ever_fit(step.demand, one) for one in capacities):
            kept.append(step)
            continue
        needs = f"{step.demand.cores_min} core(s) and {step.demand.memory_mib(step.demand.cores_min)} MiB"
        largest = f"{max(c.cores for c in capacities)} core(s) and {max(c.memory_mib for c in capacities)} MiB"
        values: dict[str, Any] = {
            "code": "never_fits",
            "failure_class": "resource",
            "summary": f"{step.name} needs {needs}; the largest worker has {largest}",
            "remedy": "start a worker with more cores or memory (settings, container limits), then release the job",
        }
        move_step(connection, now, step.id, "hold", **values)
        move_job(connection, now, step.job_id, "hold", code="never_fits", summary=values["summary"])
        events.append(connection, now, "step_held", job_id=step.job_id, step=step.name, code="never_fits")
    return kept


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
    publish: Callable[[], None] | None = None,
    ended: Callable[[Job, list[Step]], None] | None = None,
) -> int | None:
    """End an attempt and let its job go on, in one commit.

    `publish` runs once the fence is passed; `ended` with the job and its steps when this was the job's end.

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
        values["result"] = dict(verdict.result)
    if verdict.remedied is not None:
        values |= {"params": dict(verdict.remedied.params), "demand": asdict(verdict.remedied.demand)}
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
