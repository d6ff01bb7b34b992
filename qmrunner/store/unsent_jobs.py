"""Jobs whose files are in no artifact store: they were submitted before the store had one, or computed by a worker that
started before that."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from qmrunner.model.app_tasks import ENGINE
from qmrunner.model.jobs import OPTIONAL
from qmrunner.model.states import STEP_FINAL, STEP_LIVE, JobState, StepState
from qmrunner.store import events, locks
from qmrunner.store.artifacts import JOB, File, add, identity
from qmrunner.store.jobs import get, of_job
from qmrunner.store.tables import artifacts, jobs, steps
from qmrunner.store.tables import events as event_rows
from qmrunner.store.transitions import move_job

INPUTS_ELSEWHERE = "inputs_elsewhere"
_UNFINISHED = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING, JobState.HELD))


def inputs(connection: Connection, job_id: str | None = None) -> dict[str, set[str]]:
    """The input files that steps of such jobs, or of one job, need: paths in the job's folder, by job."""
    query = (
        select(steps.c.job_id, steps.c.inputs)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(_UNFINISHED, jobs.c.cancel_requested.is_(False))
        .where(steps.c.state.not_in(sorted(STEP_FINAL)), steps.c.engine != ENGINE, ~_sent(jobs.c.id))
    )
    found: dict[str, set[str]] = {}
    for row in connection.execute(query if job_id is None else query.where(jobs.c.id == job_id)):
        needed = {path for path in row.inputs.values() if path.startswith("input/") and not path.startswith(OPTIONAL)}
        if needed:
            found.setdefault(row.job_id, set()).update(needed)
    return found


def results(connection: Connection, job_id: str | None = None) -> dict[str, set[str]]:
    """The succeeded steps whose files are not in the artifact store, by job or of one job. Of jobs without any file
    there only the unfinished ones: the others ended before the store had one, and keep their files where they are."""
    sent = exists().where(
        artifacts.c.job_id == steps.c.job_id, artifacts.c.place == JOB, artifacts.c.step == steps.c.name
    )
    query = (
        select(steps.c.job_id, steps.c.name)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(steps.c.state == StepState.SUCCEEDED, steps.c.engine != ENGINE, ~sent)
        .where(or_(_UNFINISHED, _sent(jobs.c.id)))
    )
    found: dict[str, set[str]] = {}
    for row in connection.execute(query if job_id is None else query.where(jobs.c.id == job_id)):
        found.setdefault(row.job_id, set()).add(row.name)
    return found


def running(connection: Connection) -> list[str]:
    """The jobs that have a running step."""
    query = select(steps.c.job_id).where(steps.c.state.in_(sorted(STEP_LIVE)), steps.c.engine != ENGINE).distinct()
    return list(connection.execute(query.order_by(steps.c.job_id)).scalars())


def places(connection: Connection, job_id: str) -> list[tuple[str, str]]:
    """Host and folder of the job's files, as the machine that submitted it, and then the workers that computed steps
    of it, recorded them."""
    query = select(event_rows.c.data).where(
        event_rows.c.job_id == job_id, event_rows.c.event.in_(("job_accepted", "results_elsewhere"))
    )
    found = [data or {} for data in connection.execute(query.order_by(event_rows.c.id)).scalars()]
    return list(dict.fromkeys((data["host"], data["folder"]) for data in found if "folder" in data))


def attempts(connection: Connection, job_id: str) -> dict[str, int]:
    """The number of the newest attempt of each step, by its name."""
    rows = connection.execute(select(steps.c.name, steps.c.attempt).where(steps.c.job_id == job_id))
    return {row.name: row.attempt for row in rows}


def record(connection: Connection, now: float, job_id: str, files: list[File]) -> None:
    """Write the rows of files that were sent, unless another machine did so."""
    locks.hold_job(connection, job_id)
    if not connection.execute(select(_sent(job_id))).scalar():
        add(connection, now, files)


def record_step(connection: Connection, now: float, job_id: str, step: str, files: list[File]) -> None:
    """Write the rows of a step's files that were sent, unless another machine did so."""
    locks.hold_job(connection, job_id)
    if step in results(connection, job_id).get(job_id, ()):
        add(connection, now, files)


def keep_result(connection: Connection, now: float, job_id: str, step: str, host: str, folder: str) -> None:
    """Record that a step's files stay on this machine, and hold the job: no other machine could run its next step."""
    events.append(connection, now, "results_elsewhere", job_id=job_id, step=step, host=host, folder=folder)
    summary = (
        f"the files of step {step} are in {folder} of {host}, and not in the artifact store, which was set while the "
        "step ran: set QMRUNNER_ARTIFACTS for the worker there and restart it"
    )
    hold(connection, now, job_id, summary)


def hold(connection: Connection, now: float, job_id: str, summary: str) -> None:
    """Hold a job whose files no worker can reach."""
    locks.hold_job(connection, job_id)
    if move_job(connection, now, job_id, "hold", code=INPUTS_ELSEWHERE, summary=summary):
        events.append(connection, now, "job_held", job_id=job_id, code=INPUTS_ELSEWHERE)


def held(connection: Connection) -> dict[str, int]:
    """The jobs that are held for their files, each with the number of its newest event `job_held`."""
    rows = connection.execute(
        select(jobs.c.id, func.max(event_rows.c.id).label("event"))
        .join(event_rows, event_rows.c.job_id == jobs.c.id)
        .where(jobs.c.code == INPUTS_ELSEWHERE, jobs.c.state == JobState.HELD, event_rows.c.event == "job_held")
        .group_by(jobs.c.id)
    )
    return {row.id: row.event for row in rows}


def hold_unsent(connection: Connection, now: float, job_id: str) -> None:
    """Hold a job that an operator has just resumed, if a worker elsewhere could not have its files: it had ended, or
    was held, when the artifact store was set, so that nothing sent them."""
    if identity(connection) is None:
        return
    if not inputs(connection, job_id) and not results(connection, job_id):
        return
    found = places(connection, job_id)
    where = f"in {found[0][1]} of {found[0][0]}" if found else "on the machine that submitted it"
    summary = (
        f"its files are {where}, and not in the artifact store, which was set later: a worker that runs there sends "
        f"them and resumes the job, and so does `qmrunner release {job_id}` there"
    )
    hold(connection, now, job_id, summary)


def release(connection: Connection, now: float, job_id: str) -> None:
    """Resume a job that was held for its files, and for nothing else."""
    locks.hold_job(connection, job_id)
    job = get(connection, job_id)
    if job.state is not JobState.HELD or job.code != INPUTS_ELSEWHERE:
        return
    if all(step.state is not StepState.HELD for step in of_job(connection, job_id)):
        move_job(connection, now, job_id, "release")
        events.append(connection, now, "job_released", job_id=job_id)


def _sent(job_id: Any) -> ColumnElement[bool]:
    return exists().where(artifacts.c.job_id == job_id, artifacts.c.place == JOB)
