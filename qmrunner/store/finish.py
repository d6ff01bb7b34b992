"""The end of an attempt: one verdict, written once, in one commit with its consequences for the job.

The worker, adoption and the failure detector all end attempts with `end`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from qmrunner.model.disk_space import REASONS, after_stop_mib
from qmrunner.model.jobs import Job, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import (
    POISON_WINDOW_S,
    SAME_RUNNING,
    Ending,
    Finished,
    History,
    Limits,
    Lost,
    Verdict,
    decide,
)  # fmt: skip
from qmrunner.model.states import JOB_FINAL, STEP_LIVE, AttemptState, StepState
from qmrunner.store import events, locks, usage_peaks
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import Planner, advance_held
from qmrunner.store.attempts import last_failure
from qmrunner.store.claims import OFFER, THIS
from qmrunner.store.rows import evidence_json, to_step
from qmrunner.store.tables import attempts, jobs, reservations, steps, workers
from qmrunner.store.transitions import move_step

# Statements of every end are built once: on SQLite building one costs more than executing it.
_OWNER = select(steps.c.job_id).where(steps.c.id == bindparam("step"))
_STEP = select(steps).where(steps.c.id == bindparam("step"))
_GRANTED = select(attempts.c.granted).where(THIS)
_CANCEL_REQUESTED = select(jobs.c.cancel_requested).where(jobs.c.id == bindparam("job"))
_ENDED = (
    update(attempts)
    .where(THIS)
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
_OF_JOB = select(steps.c.id).where(steps.c.job_id == bindparam("job")).limit(1)
_WAITING = _OF_JOB.where(steps.c.state == StepState.WAITING)
_OPEN_IN_STAGE = _OF_JOB.where(
    steps.c.stage == bindparam("in_stage"), steps.c.state.in_((StepState.READY, *sorted(STEP_LIVE)))
)
# The share of the scratch volume that a step may request before the volume itself counts as too small.
_WHOLE = 0.95


def end(
    connection: Connection,
    now: float,
    *,
    step_id: int,
    number: int,
    ending: Ending,
    limits: Limits,
    usage: Mapping[str, Any],
    planner: Planner,
    content_key: str | None = None,
    publish: Callable[[Verdict], None] | None = None,
    ended: Callable[[Job, list[Step]], None] | None = None,
) -> tuple[int | None, Verdict]:
    """Decide on an attempt that has ended, and write the verdict. Returns the result of `finish`, and the verdict."""
    row = _hold(connection, step_id)
    verdict = decide(ending, _history(connection, now, row, number, ending), limits)
    on_fence = publish and partial(publish, verdict)
    return _write(connection, now, row, number, verdict, usage, planner, content_key, on_fence, ended), verdict


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
    """Write a given verdict, and advance the job.

    `content_key` is kept with a success, so that an identical step can reuse it, and with a step that waits for an
    identical one. `publish` is called once the fence is passed; `ended` with the job and its steps if the job ended.

    Returns how many steps are ready now, or None if this attempt no longer owns its step: then nothing was changed.
    """
    row = _hold(connection, step_id)
    return _write(connection, now, row, number, verdict, usage, planner, content_key, publish, ended)


def _hold(connection: Connection, step_id: int) -> Row[Any]:
    """The step's row, with its job locked until the commit."""
    locks.hold_job(connection, connection.execute(_OWNER, {"step": step_id}).scalar_one())
    return connection.execute(_STEP, {"step": step_id}).one()


def _write(
    connection: Connection,
    now: float,
    row: Row[Any],
    number: int,
    verdict: Verdict,
    usage: Mapping[str, Any],
    planner: Planner,
    content_key: str | None,
    publish: Callable[[], None] | None,
    ended: Callable[[Job, list[Step]], None] | None,
) -> int | None:
    values = columns_of(verdict, now, worker_id=row.worker_id, retries=row.retries, content_key=content_key)
    if verdict.move == "requeue" and usage.get("stop_reason") in REASONS:
        values["demand"] = {**row.demand, "scratch_least_mib": _scratch_least_mib(connection, row, number, usage)}
    if not move_step(connection, now, row.id, verdict.move, fence=number, **values):
        return None
    this = {"step": row.id, "attempt": number}
    ended_as = {"ended": verdict.attempt_state, "used": dict(usage), "why": verdict.code, "text": verdict.summary}
    connection.execute(_ENDED, {**this, **ended_as, "at": now})
    connection.execute(_GIVE_BACK, this)
    if verdict.move == "succeed":
        cores = _granted(connection, row.id, number)["cores"]
        usage_peaks.record(connection, to_step(row), cores, usage, _offered(connection, row.worker_id))
    if publish is not None:
        publish()
    _record_events(connection, now, row, number, verdict, usage)
    if verdict.move == "requeue" and not _winding_down(connection, row.job_id):
        return 1  # the job has not changed: its workflow has nothing to plan
    job = job_store.get(connection, row.job_id)
    if verdict.move in ("succeed", "fail") and _stage_continues(connection, job, row.stage, planner):
        return 0
    ready = advance_held(connection, now, job, planner)
    job = job_store.get(connection, row.job_id)
    if ended is not None and job.state in JOB_FINAL:
        ended(job, job_store.of_job(connection, row.job_id))
    return ready + (verdict.move == "requeue")


def _history(connection: Connection, now: float, row: Row[Any], number: int, ending: Ending) -> History:
    """The input of `decide`. Earlier failures and deaths are read only when they matter."""
    cancel_requested = bool(connection.execute(_CANCEL_REQUESTED, {"job": row.job_id}).scalar_one())
    if isinstance(ending, Lost):
        return History(cancel_requested, deaths=deaths_since(connection, row.id, now - POISON_WINDOW_S))
    if not isinstance(ending, Finished) or ending.outcome.failure_class != "transient":
        return History(cancel_requested)
    return History(
        cancel_requested,
        retries=row.retries,
        earlier=last_failure(connection, row.id, number) if ending.began else None,
    )


def columns_of(
    verdict: Verdict, now: float, *, worker_id: int | None, retries: int, content_key: str | None
) -> dict[str, Any]:
    """The columns of a step that a verdict sets, except for its state."""
    values: dict[str, Any] = {
        "code": None if verdict.move == "succeed" else verdict.code,
        "failure_class": verdict.failure_class,
        "evidence": evidence_json(verdict.evidence),
        "remedy": verdict.remedy,
        "summary": verdict.summary,
        "worker_id": None if verdict.move == "requeue" else worker_id,
        "not_before": now + verdict.delay_s if verdict.delay_s else None,
        "retries": retries + verdict.spends_retry,
    }
    if verdict.move == "succeed" or verdict.code == SAME_RUNNING:
        values["content_key"] = content_key
    elif verdict.move != "requeue" or verdict.adjusted is not None:
        values["content_key"] = None  # else the step resumes with the same content, and identical ones wait for it
    if verdict.move in ("succeed", "cancel"):
        values["result"] = dict(verdict.result)
    if verdict.code == SAME_RUNNING:
        values |= {"code": None, "summary": None, "waits_for": verdict.summary}  # the step has not failed
    if verdict.adjusted is not None:
        values |= {"params": dict(verdict.adjusted.params), "demand": asdict(verdict.adjusted.demand)}
    return values


def _scratch_least_mib(connection: Connection, row: Row[Any], number: int, usage: Mapping[str, Any]) -> int:
    """The least scratch for a step that was stopped because scratch ran out. The whole volume is granted once before
    the volume counts as too small."""
    held = _granted(connection, row.id, number)
    needed = after_stop_mib(held["scratch_mib"], usage.get("peak_scratch_mib") or 0.0)
    offered = _offered(connection, row.worker_id)
    whole = None if offered is None or offered.scratch_mib is None else int(_WHOLE * offered.scratch_mib)
    return min(needed, whole) if whole is not None and held["scratch_mib"] < whole else needed


def _record_events(
    connection: Connection, now: float, row: Row[Any], number: int, verdict: Verdict, usage: Mapping[str, Any]
) -> None:
    named: dict[str, Any] = {"job_id": row.job_id, "step": row.name, "attempt": number}
    events.append(
        connection,
        now,
        f"attempt_{verdict.attempt_state}",
        **named,
        worker_id=row.worker_id,
        code=verdict.code,
        next=verdict.move,
        delay_s=verdict.delay_s or None,
        survivors=usage.get("survivors_ended") or None,
    )
    if verdict.adjusted is not None:
        record = verdict.adjusted.record
        shown = {name: record[name] for name in ("remedy", "neutral", "code", "change")}
        events.append(connection, now, "step_remedied", **named, **shown)


def _offered(connection: Connection, worker_id: int) -> Capacity | None:
    row = connection.execute(select(*OFFER).where(workers.c.id == worker_id)).first()
    return None if row is None else Capacity(*row)


def _granted(connection: Connection, step_id: int, number: int) -> dict[str, int]:
    granted: dict[str, int] = connection.execute(_GRANTED, {"step": step_id, "attempt": number}).scalar_one()
    return granted


def _winding_down(connection: Connection, job_id: str) -> bool:
    """Whether a step of the job has ended without success, so that the job may be about to end."""
    bad = (StepState.FAILED, StepState.CANCELLED, StepState.HELD, StepState.SKIPPED)
    query = select(steps.c.id).where(steps.c.job_id == job_id, steps.c.state.in_(bad)).limit(1)
    return connection.execute(query).first() is not None


def _stage_continues(connection: Connection, job: Job, stage: str, planner: Planner) -> bool:
    """Whether the workflow has nothing to plan yet, because other steps of this stage have not ended.

    Reading and planning a job of thousands of steps takes most of the time of an end, so only the last end of such a
    stage pays for it.
    """
    if job.cancel_requested or not planner.waits_for_all(job, stage):
        return False
    if connection.execute(_WAITING, {"job": job.id}).first() is not None:
        return False  # it may be ready now
    return connection.execute(_OPEN_IN_STAGE, {"job": job.id, "in_stage": stage}).first() is not None


def deaths_since(connection: Connection, step_id: int, since: float) -> int:
    """How many running attempts of a step were lost with their guardian or worker since then (Unix seconds)."""
    query = select(func.count()).where(
        attempts.c.step_id == step_id,
        attempts.c.state == AttemptState.LOST,
        attempts.c.code.in_(("guardian_lost", "worker_lost")),
        attempts.c.finished_at >= since,
    )
    return connection.execute(query).scalar() or 0
