"""Queries for jobs and their steps. They are changed by `advance`, `operator_actions`, `claims` and `finish`."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, bindparam, func, literal, select, union_all

from qmrunner.errors import NotFoundError, UsageError
from qmrunner.model.jobs import Job, Step, Submission
from qmrunner.model.states import JOB_FINAL, STEP_FINAL, JobState, StepState
from qmrunner.store.rows import OUTLINED, to_job, to_outline, to_step
from qmrunner.store.tables import jobs, steps

# Counting costs time by the row: a store may hold millions that have ended.
COUNTED = 50_000
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.HELD)
# Of these, a list needs no more than their number.
PLAIN = (StepState.WAITING, StepState.READY, StepState.SUCCEEDED, StepState.SKIPPED, StepState.CANCELLED)
# Built once: these are executed at every step's end.
_JOB = select(jobs).where(jobs.c.id == bindparam("job"))
_STEPS = select(steps).where(steps.c.job_id == bindparam("job")).order_by(steps.c.id)
_OUTLINED = select(*(steps.c[name] for name in OUTLINED))
_OUTLINE = _OUTLINED.where(steps.c.job_id == bindparam("job")).order_by(steps.c.id)
_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"


def new_id() -> str:
    """Eight characters that can be read aloud: 30**8, about 6.6e11 ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


def known(connection: Connection, submissions: Collection[Submission]) -> dict[str, str]:
    """The ids of the jobs that were submitted with the keys of these, by key.

    Raises UsageError `key_in_use` if one of the requests was different, by its digest.
    """
    keys = {submission.key for submission in submissions if submission.key}
    query = select(jobs.c.key, jobs.c.id, jobs.c.request_digest)
    rows = {row.key: row for part in _parts(keys) for row in connection.execute(query.where(jobs.c.key.in_(part)))}
    for submission in submissions:
        row = rows.get(submission.key or "")
        digests = (submission.request_digest, row.request_digest) if row else (None, None)
        if row and None not in digests and digests[0] != digests[1]:
            raise UsageError(
                "key_in_use",
                f"this idempotency key came with another request before, which is job {row.id}",
                remedy="repeat that request as it was, or choose a new key for a new job",
            )
    return {key: str(row.id) for key, row in rows.items()}


def get(connection: Connection, job_id: str) -> Job:
    """Raises NotFoundError for an id that the store does not know."""
    row = connection.execute(_JOB, {"job": job_id}).first()
    if row is None:
        raise _unknown(job_id)
    return to_job(row)


def checked_id(job_id: str) -> str:
    """The same text, if it can be a job's id and a folder's name. Raises NotFoundError otherwise."""
    if len(job_id) > 32 or not (job_id.isascii() and job_id.isalnum()):
        raise _unknown(job_id[:40])
    return job_id


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError("job_unknown", f"there is no job {job_id!r}", remedy="`qmrunner status` lists all jobs")


def get_all(connection: Connection, job_ids: Collection[str]) -> dict[str, Job]:
    """The existing jobs among these, by id."""
    rows = (row for part in _parts(job_ids) for row in connection.execute(select(jobs).where(jobs.c.id.in_(part))))
    return {row.id: to_job(row) for row in rows}


def all_steps(connection: Connection, step_ids: Collection[int]) -> dict[int, Step]:
    """The existing steps among these, by id."""
    rows = (row for part in _parts(step_ids) for row in connection.execute(select(steps).where(steps.c.id.in_(part))))
    return {row.id: to_step(row) for row in rows}


def _parts(values: Collection[Any], size: int = 500) -> Iterator[list[Any]]:
    """In pieces that fit into one statement."""
    listed = sorted(values)
    return (listed[i : i + size] for i in range(0, len(listed), size))


def of_job(connection: Connection, job_id: str) -> list[Step]:
    """All steps of a job in the order in which they were added."""
    return [to_step(row) for row in connection.execute(_STEPS, {"job": job_id}).all()]


def count_steps(connection: Connection, job_id: str) -> int:
    """The number of steps of a job."""
    return int(connection.execute(select(func.count()).where(steps.c.job_id == job_id)).scalar_one())


def step_named(connection: Connection, job_id: str, name: str) -> Step | None:
    """The step of a job with this name, if there is one."""
    row = connection.execute(select(steps).where(steps.c.job_id == job_id, steps.c.name == name)).first()
    return None if row is None else to_step(row)


def outline(connection: Connection, job_id: str) -> list[Step]:
    """As `of_job`, for lists, counts and progress: without params, inputs, demand, evidence and result, which make
    4,000 steps slow to read."""
    return [to_outline(row) for row in connection.execute(_OUTLINE, {"job": job_id}).all()]


def bounded(
    connection: Connection, job_id: str, most: int | None, chosen: str | None, known: list[Step] | None = None
) -> tuple[list[Step], list[int] | None]:
    """All steps of a job, and the ids of those of which attempts are worth reading; None: of all of them.

    Of a job with more than `most` steps only that many, which run, are held, failed or needed several attempts, are
    whole, with the step called `chosen` and the first that is ready. The others are outlines: `known`, or read here.
    """
    if most is None or (count_steps(connection, job_id) if known is None else len(known)) <= most:
        return of_job(connection, job_id), None
    known = outline(connection, job_id) if known is None else known
    wanted = {step.id for step in known if step.name == chosen}
    wanted |= set([step.id for step in known if step.state is StepState.READY][:1])
    wanted |= set([step.id for step in known if step.attempt > 1 or step.state not in PLAIN][:most])
    full = all_steps(connection, wanted)
    return [full.get(step.id, step) for step in known], sorted(full)


def of_jobs(connection: Connection, job_ids: Collection[str]) -> dict[str, list[Step]]:
    """All steps of these jobs, by job, in the order in which they were added."""
    found: dict[str, list[Step]] = {job_id: [] for job_id in job_ids}
    for part in _parts(job_ids):
        for row in connection.execute(select(steps).where(steps.c.job_id.in_(part)).order_by(steps.c.id)):
            found[row.job_id].append(to_step(row))
    return found


def outlines(connection: Connection, job_ids: Collection[str]) -> dict[str, list[Step]]:
    """The outlines of these jobs' steps, by job, in the order in which they were added."""
    found: dict[str, list[Step]] = {job_id: [] for job_id in job_ids}
    for part in _parts(job_ids):
        for row in connection.execute(_OUTLINED.where(steps.c.job_id.in_(part)).order_by(steps.c.id)):
            found[row.job_id].append(to_outline(row))
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


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Numbers of jobs and steps by state; ended ones are counted up to `COUNTED`."""
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
