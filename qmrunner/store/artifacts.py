"""The content of each file of a job. Rows of an attempt change only in transactions that passed its fence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, delete, select

from qmrunner.model.states import STEP_LIVE
from qmrunner.store.tables import artifacts, control, steps

JOB = "job"  # paths are those in the job's folder
CHECKPOINT = "checkpoint"  # <step>/<attempt>/<path in the attempt's folder>
LOG = "log"  # <step>.<attempt>.log.gz
_AT_ONCE = 500
_NAME = "artifacts"


class Content(Protocol):
    """The hash and the size of a file."""

    @property
    def sha256(self) -> str: ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class File:
    """One row: a file of a job and its content. `step` is "" for files of the whole job."""

    job_id: str
    place: str
    path: str
    step: str
    attempt: int
    sha256: str
    bytes: int


def add(connection: Connection, now: float, files: Sequence[File]) -> None:
    """Write rows, replacing those with the same place and path."""
    for file in files:
        connection.execute(
            delete(artifacts).where(
                artifacts.c.job_id == file.job_id, artifacts.c.place == file.place, artifacts.c.path == file.path
            )
        )
    if files:
        rows = [
            {
                "job_id": file.job_id,
                "place": file.place,
                "path": file.path,
                "step": file.step,
                "attempt": file.attempt,
                "sha256": file.sha256,
                "bytes": file.bytes,
                "created_at": now,
            }
            for file in files
        ]
        connection.execute(artifacts.insert(), rows)


def forget(connection: Connection, job_id: str, place: str, step: str | None = None) -> None:
    """Drop the rows of a job, or of one of its steps, in this place."""
    statement = delete(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.place == place)
    connection.execute(statement if step is None else statement.where(artifacts.c.step == step))


def holds_fence(connection: Connection, step_id: int, number: int) -> bool:
    """Whether this attempt still owns the step; it does so until this transaction ends."""
    query = select(steps.c.id).where(steps.c.id == step_id, steps.c.attempt == number, steps.c.state.in_(STEP_LIVE))
    return connection.execute(query.with_for_update()).first() is not None


def of_job(
    connection: Connection,
    job_id: str,
    place: str,
    *,
    paths: Collection[str] | None = None,
    step: str | None = None,
) -> list[File]:
    """Files of a job by path: all in a place, or only the named ones, or only those of a step."""
    query = select(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.place == place)
    if paths is not None:
        query = query.where(artifacts.c.path.in_(sorted(paths)))
    if step is not None:
        query = query.where(artifacts.c.step == step)
    return [
        File(row.job_id, row.place, row.path, row.step, row.attempt, row.sha256, row.bytes)
        for row in connection.execute(query.order_by(artifacts.c.path))
    ]


def referenced(connection: Connection, contents: Collection[str]) -> set[str]:
    """The given contents that at least one file has."""
    found: set[str] = set()
    for part in _parts(sorted(contents)):
        query = select(artifacts.c.sha256).where(artifacts.c.sha256.in_(part)).distinct()
        found |= set(connection.execute(query).scalars())
    return found


def jobs_with(connection: Connection, place: str, among: Collection[str]) -> set[str]:
    """The given jobs that have files in this place."""
    found: set[str] = set()
    for part in _parts(sorted(among)):
        query = select(artifacts.c.job_id).where(artifacts.c.place == place, artifacts.c.job_id.in_(part)).distinct()
        found |= set(connection.execute(query).scalars())
    return found


def checkpoints_over(connection: Connection, before: float) -> set[tuple[str, str]]:
    """(job, step) of checkpoints whose step ended before `before` (Unix s)."""
    query = (
        select(artifacts.c.job_id, artifacts.c.step)
        .join(steps, (steps.c.job_id == artifacts.c.job_id) & (steps.c.name == artifacts.c.step))
        .where(artifacts.c.place == CHECKPOINT, steps.c.finished_at.is_not(None), steps.c.finished_at < before)
        .where(steps.c.state.not_in(STEP_LIVE))
        .distinct()
    )
    return {(row.job_id, row.step) for row in connection.execute(query)}


def identity(connection: Connection) -> str | None:
    """The id of the artifact store of this store; None before its first use."""
    return connection.execute(select(control.c.value).where(control.c.name == _NAME)).scalar()


def set_identity(connection: Connection, value: str) -> None:
    """Record the artifact store's id. Raises IntegrityError if one is recorded already."""
    connection.execute(control.insert().values(name=_NAME, value=value))


def rows_of(job_id: str, place: str, step: str, attempt: int, files: Mapping[str, Content]) -> list[File]:
    """Rows for files given as path → content."""
    return [File(job_id, place, path, step, attempt, content.sha256, content.bytes) for path, content in files.items()]


def _parts(values: list[str]) -> Iterable[list[str]]:
    return (values[i : i + _AT_ONCE] for i in range(0, len(values), _AT_ONCE))
