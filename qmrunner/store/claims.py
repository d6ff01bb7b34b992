"""Claim, start, finish: the protocol by which an attempt owns a step.

Whoever holds the newest attempt number may finish the step, once. Every statement from `claim` on names that number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, update

from qmrunner.model import labels, remedies
from qmrunner.model.estimates import learned, within
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.model.packing import PATIENCE, Candidate, Capacity, Free, can_ever_fit, choose
from qmrunner.model.policy import SAME_RUNNING, Verdict
from qmrunner.model.shortage import never_fits, shortages, waits_for
from qmrunner.model.space import REASONS, Room, after_stop_mib
from qmrunner.model.states import JOB_FINAL, AttemptState, StepState
from qmrunner.store import candidates, events, locks, molding, peaks
from qmrunner.store import jobs as job_store
from qmrunner.store.jobs import Planner
from qmrunner.store.moves import move_job, move_step
from qmrunner.store.reserved import Left, left_of, lock
from qmrunner.store.rows import evidence_json, to_step
from qmrunner.store.tables import attempts, control, jobs, reservations, steps, workers

MORE_CORES = "cores that are about to come back: with more of them it ends sooner"
TOO_LATE = "a worker with more time left: the wall time ends before it would be done"
_UNMEASURED = Room()
# Statements of every claim and end are built once: building one costs more than executing it on SQLite.
_ACTIVE = select(workers.c.id).where(workers.c.id == bindparam("worker"), workers.c.state == "active")
_PAUSED = select(control.c.value).where(control.c.name == "paused")
_OWNER = select(steps.c.job_id).where(steps.c.id == bindparam("step"))
_STEP = select(steps).where(steps.c.id == bindparam("step"))
_THIS = (attempts.c.step_id == bindparam("step")) & (attempts.c.number == bindparam("attempt"))
_WHOLE = 0.95
_OFFER = (workers.c.slots, workers.c.cores, workers.c.memory_mib, workers.c.scratch_mib, workers.c.shm_mib)
_GRANTED = select(attempts.c.granted).where(_THIS)
_ADD, _RESERVE = attempts.insert(), reservations.insert()
_STARTED = (
    update(attempts)
    .where(_THIS)
    .values(
        state=AttemptState.RUNNING,
        guardian=bindparam("guard"),
        engine_pid=bindparam("engine"),
        notes=bindparam("noted"),
        started_at=bindparam("at"),
    )
)
_ENDED = (
    update(attempts)
    .where(_THIS)
    .values(
        state=bindparam("ended"),
        usage=bindparam("used"),
        code=bindparam("why"),
        summary=bindparam("text"),
        finished_at=bindparam("at"),
    )
)
_GIVE_BACK = delete(reservations).where(
    reservations.c.step_id == bindparam("step"), reservations.c.attempt == bindparam("attempt")
)


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


def any_running(connection: Connection) -> bool:
    """Whether any worker has a step in hand."""
    in_hand = steps.c.state.in_((StepState.CLAIMED, StepState.RUNNING))
    return connection.execute(select(steps.c.id).where(in_hand).limit(1)).first() is not None


def claim(
    connection: Connection,
    now: float,
    worker_id: int,
    capacity: Capacity,
    paths: Paths,
    room: Room = _UNMEASURED,
    worth: Callable[[Connection, Step], bool] | None = None,
) -> Claim | None:
    """Take the best ready step that fits, with its resources, in this transaction; None when there is none.

    `room` is what the worker has just found really free; a worker with little time left says by `worth` what it still
    begins. Why a ready step does not start is written to it.
    """
    lock(connection, worker_id, capacity)
    if connection.execute(_ACTIVE, {"worker": worker_id}).first() is None or is_paused(connection):
        return None
    waiting = candidates.best(connection, now, capacity.labels)
    left = left_of(connection, worker_id, capacity, room)
    found = _sized(connection, now, waiting, capacity, left.idle)
    # What cannot fit even when all that runs has ended must not hold up the others.
    here = [step for step in found if room.blocked is None and can_ever_fit(step.demand, left.idle)]
    in_time = here if worth is None else [step for step in here if worth(connection, step)]
    here, too_late = in_time, bool(here) and not in_time
    wanted = molding.cores_wanted(connection, now, worker_id, here, left.now)
    picked = _pick(connection, here, left.now, wanted)
    blocked = MORE_CORES if wanted == 0 and not room.blocked else room.blocked
    blocked = TOO_LATE if too_late else blocked
    _note_waits(connection, found, left, worker_id, blocked, picked[0].step_id if picked else None)
    if picked is None:
        return None
    candidate, grant = picked
    step = next(step for step in found if step.id == candidate.step_id)
    passed = _passed_over(connection, here, step)
    if passed:
        counted = update(steps).where(steps.c.id.in_(locks.at_hand(passed)))
        connection.execute(counted.values(passed_over=steps.c.passed_over + 1))
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


def _pick(
    connection: Connection, here: Sequence[Step], free: Free, wanted: int | None
) -> tuple[Candidate, Grant] | None:
    """The best step that fits and that no other claim is taking at this moment."""
    steps_by_id = {step.id: step for step in here}
    while True:
        asking = [Candidate(step.id, step.demand, step.passed_over) for step in steps_by_id.values()]
        picked = choose(asking, free, wanted)
        if picked is None or locks.take(connection, steps_by_id[picked[0].step_id]):
            return picked
        del steps_by_id[picked[0].step_id]


def _sized(connection: Connection, now: float, waiting: list[Step], here: Capacity, idle: Free) -> list[Step]:
    """The steps with what earlier attempts teach that they need. Held, with the numbers, is what no worker of this
    store with the labels for it could ever run by its rule alone: what was learned keeps no step from running."""
    demands = peaks.demands(connection, waiting)
    found = [step if step.demand == (need := demands[step.id]) else replace(step, demand=need) for step in waiting]
    if all(can_ever_fit(step.demand, idle) for step in found):
        return found
    active = connection.execute(select(*_OFFER, workers.c.labels).where(workers.c.state == "active")).all()
    asking = job_store.get_all(connection, {step.job_id for step in found})
    kept = []
    for plain, step in zip(waiting, found, strict=True):
        required = asking[step.job_id].requires
        capacities = [Capacity(*row[:5]) for row in active if labels.met(required, row.labels or ())]
        if can_ever_fit(step.demand, idle):
            kept.append(step)
            continue
        if not can_ever_fit(step.demand, here) and any(can_ever_fit(step.demand, one) for one in capacities):
            kept.append(step)  # for a larger worker
            continue
        rule = learned(plain.demand, ())
        if any(can_ever_fit(rule, one) for one in capacities):
            kept.append(replace(step, demand=within(step.demand, rule, idle)))
            continue
        if not locks.take(connection, step, alone=True):
            continue
        summary, remedy = never_fits(step.name, step.job_id, rule, capacities, step.params.get("memory_mib_per_rank"))
        values: dict[str, Any] = {"code": "never_fits", "failure_class": "resource", "summary": summary}
        move_step(connection, now, step.id, "hold", remedy=remedy, waits_for=None, **values)
        move_job(connection, now, step.job_id, "hold", code="never_fits", summary=summary)
        events.append(connection, now, "step_held", job_id=step.job_id, step=step.name, code="never_fits")
    return kept


def _passed_over(connection: Connection, here: Sequence[Step], chosen: Step) -> list[int]:
    """What `chosen` starts ahead of: the steps before it, which do not fit now, and of each other user the first step,
    where that is older and only behind it for its user's share."""
    place = here.index(chosen)
    passed = [one.id for one in here[:place]]
    older = [one for one in here[place + 1 :] if one.priority == chosen.priority and one.id < chosen.id]
    if older:
        named = {chosen.job_id, *(one.job_id for one in older)}
        asked = connection.execute(select(jobs.c.id, jobs.c.owner).where(jobs.c.id.in_(named)))
        owners = {row.id: row.owner for row in asked}
        first: dict[str | None, int] = {}
        for one in older:
            first.setdefault(owners[one.job_id], one.id)
        first.pop(owners[chosen.job_id], None)
        passed += first.values()
    return passed


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
            noted = update(steps).where(steps.c.id.in_(locks.at_hand([step.id])))
            connection.execute(noted.values(waits_for=text))


def _record_claim(connection: Connection, now: float, claim: Claim) -> None:
    step, grant = claim.step, asdict(claim.grant)
    attempt = {
        "step_id": step.id,
        "number": claim.number,
        "job_id": step.job_id,
        "state": AttemptState.CLAIMED,
        "worker_id": claim.worker_id,
        "marker": claim.marker,
        "directory": claim.directory,
        "log": claim.log,
        "progress": {},
        "usage": {},
        "granted": grant,
        "notes": list(remedies.notes(step.params)),  # `start` adds the engine's; a short run may never come to it
        "created_at": now,
    }
    connection.execute(_ADD, attempt)
    connection.execute(_RESERVE, {"step_id": step.id, "attempt": claim.number, "worker_id": claim.worker_id, **grant})
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
    content_key: str | None = None,
) -> bool:
    """Record the running engine. False: this attempt has been fenced off."""
    if not move_step(connection, now, step_id, "start", fence=number, content_key=content_key):
        return False
    running = {"guard": dict(guardian), "engine": engine_pid, "noted": list(notes), "at": now}
    connection.execute(_STARTED, {"step": step_id, "attempt": number, **running})
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

    `content_key` is kept with a success, so that an identical step finds it, and with a step that waits for one.
    `publish` runs once the fence is passed; `ended` with the job and its steps when this was the job's end.

    Returns how many steps are ready now, or None when this attempt has been fenced off: nothing was changed then.
    """
    owner = connection.execute(_OWNER, {"step": step_id}).scalar_one()
    locks.hold_job(connection, owner)
    row = connection.execute(_STEP, {"step": step_id}).one()
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
    if verdict.move == "succeed" or verdict.code == SAME_RUNNING:
        values |= {"content_key": content_key}
    elif verdict.move != "requeue" or verdict.remedied is not None:
        values |= {"content_key": None}  # else it goes on with the same, and identical ones wait on
    if verdict.move == "succeed":
        values |= {"result": dict(verdict.result)}
    if verdict.code == SAME_RUNNING:
        values |= {"code": None, "summary": None, "waits_for": verdict.summary}  # nothing is wrong with it
    if verdict.remedied is not None:
        values |= {"params": dict(verdict.remedied.params), "demand": asdict(verdict.remedied.demand)}
    if verdict.move == "requeue" and usage.get("stop_reason") in REASONS:
        held = _granted(connection, step_id, number)
        needed = after_stop_mib(held["scratch_mib"], usage.get("peak_scratch_mib") or 0.0)
        offered = _offered(connection, row.worker_id)
        # All of the volume first, before it is called too little; but for what earlier attempts left there.
        whole = None if offered is None or offered.scratch_mib is None else int(_WHOLE * offered.scratch_mib)
        if whole is not None and held["scratch_mib"] < whole:
            needed = min(needed, whole)
        values["demand"] = {**row.demand, "scratch_least_mib": needed}
    if not move_step(connection, now, step_id, verdict.move, fence=number, **values):
        return None
    this = {"step": step_id, "attempt": number}
    ended_as = {"ended": verdict.attempt_state, "used": dict(usage), "why": verdict.code, "text": verdict.summary}
    connection.execute(_ENDED, {**this, **ended_as, "at": now})
    connection.execute(_GIVE_BACK, this)
    if verdict.move == "succeed":
        cores = _granted(connection, step_id, number)["cores"]
        peaks.record(connection, to_step(row), cores, usage, _offered(connection, row.worker_id))
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


def _offered(connection: Connection, worker_id: int) -> Capacity | None:
    row = connection.execute(select(*_OFFER).where(workers.c.id == worker_id)).first()
    return None if row is None else Capacity(*row)


def _granted(connection: Connection, step_id: int, number: int) -> dict[str, int]:
    granted: dict[str, int] = connection.execute(_GRANTED, {"step": step_id, "attempt": number}).scalar_one()
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
    return connection.execute(_PAUSED).scalar() == "yes"
