"""Claim and start: the protocol by which an attempt owns a step. `finish` ends the attempt.

Only the attempt with the newest number may finish the step, once. Every statement from `claim` on names that number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from qmrunner.model import labels, remedies
from qmrunner.model.disk_space import FreeSpace
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.model.learned_demand import learned, within
from qmrunner.model.packing import MAX_SKIPS, Candidate, Capacity, Free, can_ever_fit, choose
from qmrunner.model.states import AttemptState, StepState
from qmrunner.model.wait_reasons import never_fits, shortages, waits_for
from qmrunner.store import events, locks, ready_steps, step_durations, usage_peaks
from qmrunner.store import jobs as job_store
from qmrunner.store.reservations import Left, left_of, lock
from qmrunner.store.tables import attempts, jobs, reservations, steps, workers
from qmrunner.store.transitions import move_job, move_step
from qmrunner.store.workers import is_paused

MORE_CORES = "more free cores, which are expected soon: with more cores it ends sooner"
TOO_LATE = "a worker with more time left: the wall time ends before the step would"
_UNMEASURED = FreeSpace()
# Statements of every claim and end are built once: on SQLite building one costs more than executing it.
_ACTIVE = select(workers.c.id).where(workers.c.id == bindparam("worker"), workers.c.state == "active")
THIS = (attempts.c.step_id == bindparam("step")) & (attempts.c.number == bindparam("attempt"))
OFFER = (workers.c.slots, workers.c.cores, workers.c.memory_mib, workers.c.scratch_mib, workers.c.shm_mib)
_ADD, _RESERVE = attempts.insert(), reservations.insert()
_STARTED = (
    update(attempts)
    .where(THIS)
    .values(
        state=AttemptState.RUNNING,
        guardian=bindparam("guard"),
        engine_pid=bindparam("engine"),
        notes=bindparam("noted"),
        started_at=bindparam("at"),
    )
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed attempt. `job` and `step` are as of the claiming commit."""

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
    """Paths of a worker's attempts: functions of (job id, step name, attempt number)."""

    directory: Callable[[str, str, int], str]
    log: Callable[[str, str, int], str]


def marker_of(job_id: str, step: str, number: int) -> str:
    """The value of QMRUNNER_ATTEMPT in every process of this attempt."""
    return f"{job_id}/{step}/{number}"


def any_running(connection: Connection) -> bool:
    """Whether any step is claimed or running."""
    live = steps.c.state.in_((StepState.CLAIMED, StepState.RUNNING))
    return connection.execute(select(steps.c.id).where(live).limit(1)).first() is not None


def claim(
    connection: Connection,
    now: float,
    worker_id: int,
    capacity: Capacity,
    paths: Paths,
    free_space: FreeSpace = _UNMEASURED,
    worth: Callable[[Connection, Step], bool] | None = None,
) -> Claim | None:
    """Claim the best ready step that fits, and reserve its resources, in this transaction; None if no step fits.

    `free_space` is what the worker has just measured. A worker with little time left passes `worth`, which is False for
    a step that is not worth starting. The reason why a ready step does not start is written to the step.
    """
    lock(connection, worker_id, capacity)
    if connection.execute(_ACTIVE, {"worker": worker_id}).first() is None or is_paused(connection):
        return None
    waiting = ready_steps.best(connection, now, capacity.labels)
    left = left_of(connection, worker_id, capacity, free_space)
    sized = _sized(connection, now, waiting, capacity, left.idle)
    # A step that does not fit even when nothing else runs must not delay the others.
    fitting = [step for step in sized if free_space.blocked is None and can_ever_fit(step.demand, left.idle)]
    in_time = fitting if worth is None else [step for step in fitting if worth(connection, step)]
    fitting, too_late = in_time, bool(fitting) and not in_time
    wanted = step_durations.cores_wanted(connection, now, worker_id, fitting, left.now)
    picked = _pick(connection, fitting, left.now, wanted)
    blocked = MORE_CORES if wanted == 0 and not free_space.blocked else free_space.blocked
    blocked = TOO_LATE if too_late else blocked
    _note_waits(connection, sized, left, worker_id, blocked, picked[0].step_id if picked else None)
    if picked is None:
        return None
    candidate, grant = picked
    step = next(step for step in sized if step.id == candidate.step_id)
    skipped = _skipped_by(connection, fitting, step)
    if skipped:
        counted = update(steps).where(steps.c.id.in_(locks.unlocked(skipped)))
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
    connection: Connection, fitting: Sequence[Step], free: Free, wanted: int | None
) -> tuple[Candidate, Grant] | None:
    """The best step that fits and that no concurrent claim has locked."""
    steps_by_id = {step.id: step for step in fitting}
    while True:
        candidates = [Candidate(step.id, step.demand, step.skips) for step in steps_by_id.values()]
        picked = choose(candidates, free, wanted)
        if picked is None or locks.take(connection, steps_by_id[picked[0].step_id]):
            return picked
        del steps_by_id[picked[0].step_id]


def _sized(connection: Connection, now: float, waiting: list[Step], capacity: Capacity, idle: Free) -> list[Step]:
    """The steps with demands corrected by earlier attempts. A step that no active worker with its labels could ever run
    by the engine's rule is held as unschedulable; a correction alone never prevents a step from running."""
    demands = usage_peaks.demands(connection, waiting)
    sized = [step if step.demand == (need := demands[step.id]) else replace(step, demand=need) for step in waiting]
    if all(can_ever_fit(step.demand, idle) for step in sized):
        return sized
    active = connection.execute(select(*OFFER, workers.c.labels).where(workers.c.state == "active")).all()
    owners = job_store.get_all(connection, {step.job_id for step in sized})
    kept = []
    for plain, step in zip(waiting, sized, strict=True):
        required = owners[step.job_id].requires
        capacities = [Capacity(*row[:5]) for row in active if labels.met(required, row.labels or ())]
        if can_ever_fit(step.demand, idle):
            kept.append(step)
            continue
        if not can_ever_fit(step.demand, capacity) and any(can_ever_fit(step.demand, other) for other in capacities):
            kept.append(step)  # for a larger worker
            continue
        rule = learned(plain.demand, ())
        if any(can_ever_fit(rule, other) for other in capacities):
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


def _skipped_by(connection: Connection, fitting: Sequence[Step], chosen: Step) -> list[int]:
    """Ids of the steps that `chosen` skips: all steps before it, which do not fit now, and for each other user the
    first step that is older and comes later only because of its user's share of the cores."""
    if not chosen.demand.takes_slot:
        return []  # it takes nothing that they wait for, but for memory
    place = fitting.index(chosen)
    skipped = [step.id for step in fitting[:place]]
    older = [step for step in fitting[place + 1 :] if step.priority == chosen.priority and step.id < chosen.id]
    if older:
        named = {chosen.job_id, *(step.job_id for step in older)}
        rows = connection.execute(select(jobs.c.id, jobs.c.owner).where(jobs.c.id.in_(named)))
        owners = {row.id: row.owner for row in rows}
        first: dict[str | None, int] = {}
        for step in older:
            first.setdefault(owners[step.job_id], step.id)
        first.pop(owners[chosen.job_id], None)
        skipped += first.values()
    return skipped


def _note_waits(
    connection: Connection, sized: list[Step], left: Left, worker_id: int, blocked: str | None, chosen: int | None
) -> None:
    """Record for each ready step that this worker did not claim what it waits for; only changes are written."""
    first: Step | None = None  # skipped so often that it starts next
    for step in sized:
        if step.id == chosen:
            break
        short = shortages(step.demand, left.now)
        if blocked is not None:
            text: str | None = f"{blocked} (worker {worker_id})"
        elif short:
            text = waits_for(short, worker_id)
        else:
            text = f"{first.job_id}/{first.name}, which starts next because others have skipped it" if first else None
        if first is None and short and step.skips >= MAX_SKIPS and can_ever_fit(step.demand, left.idle):
            first = step
        if text != step.waits_for:
            noted = update(steps).where(steps.c.id.in_(locks.unlocked([step.id])))
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
        "notes": list(remedies.notes(step.params)),  # `start` adds the engine's; a short run may end before it
        "created_at": now,
    }
    connection.execute(_ADD, attempt)
    connection.execute(_RESERVE, {"step_id": step.id, "attempt": claim.number, "worker_id": claim.worker_id, **grant})
    move_job(connection, now, step.job_id, "start")
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
    """Record that the engine runs. False: this attempt no longer owns its step."""
    if not move_step(connection, now, step_id, "start", fence=number, content_key=content_key):
        return False
    running = {"guard": dict(guardian), "engine": engine_pid, "noted": list(notes), "at": now}
    connection.execute(_STARTED, {"step": step_id, "attempt": number, **running})
    return True
