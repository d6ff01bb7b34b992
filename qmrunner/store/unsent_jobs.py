"""Unfinished jobs whose files are in no artifact store: they were submitted before the store had one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, select

from qmrunner.model.app_tasks import ENGINE
from qmrunner.model.jobs import OPTIONAL
from qmrunner.model.states import STEP_FINAL, JobState
from qmrunner.store import events, locks
from qmrunner.store.artifacts import JOB, File, add
from qmrunner.store.tables import artifacts, jobs, steps
from qmrunner.store.tables import events as event_rows
from qmrunner.store.transitions import move_job

INPUTS_ELSEWHERE = "inputs_elsewhere"
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


def inputs(connection: Connection) -> dict[str, set[str]]:
    """The input files that steps of such jobs need, as paths in the job's folder, by job."""
    query = (
        select(steps.c.job_id, steps.c.inputs)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(jobs.c.state.in_(_UNFINISHED), jobs.c.cancel_requested.is_(False))
        .where(steps.c.state.not_in(sorted(STEP_FINAL)), steps.c.engine != ENGINE, ~_sent(jobs.c.id))
    )
    found: dict[str, set[str]] = {}
    for row in connection.execute(query):
        needed = {path for path in row.inputs.values() if path.startswith("input/") and not path.startswith(OPTIONAL)}
        if needed:
            found.setdefault(row.job_id, set()).update(needed)
    return found


def place(connection: Connection, job_id: str) -> tuple[str, str] | None:
    """Host and folder of the job's files, as the machine that submitted it recorded them; None if it did not."""
    query = select(event_rows.c.data).where(event_rows.c.job_id == job_id, event_rows.c.event == "job_accepted")
    data = connection.execute(query.limit(1)).scalar() or {}
    return (data["host"], data["folder"]) if "folder" in data else None


def attempts(connection: Connection, job_id: str) -> dict[str, int]:
    """The number of the newest attempt of each step, by its name."""
    rows = connection.execute(select(steps.c.name, steps.c.attempt).where(steps.c.job_id == job_id))
    return {row.name: row.attempt for row in rows}


def record(connection: Connection, now: float, job_id: str, files: list[File]) -> None:
    """Write the rows of files that were sent, unless another machine did so."""
    locks.hold_job(connection, job_id)
    if not connection.execute(select(_sent(job_id))).scalar():
        add(connection, now, files)


def hold(connection: Connection, now: float, job_id: str, summary: str) -> None:
    """Hold a job whose files no worker can reach."""
    locks.hold_job(connection, job_id)
    if move_job(connection, now, job_id, "hold", code=INPUTS_ELSEWHERE, summary=summary):
        events.append(connection, now, "job_held", job_id=job_id, code=INPUTS_ELSEWHERE)


def _sent(job_id: Any) -> ColumnElement[bool]:
    return exists().where(artifacts.c.job_id == job_id, artifacts.c.place == JOB)
