"""Conversion of rows to the values of `qmrunner.model`, and back.

A row that cannot be converted was written by another program or version, or is damaged: it is an error that names the
row, not one of qmrunner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Row

from qmrunner.errors import NotReadyError
from qmrunner.model import labels
from qmrunner.model.jobs import Attempt, Demand, Evidence, Grant, Job, Step
from qmrunner.model.states import AttemptState, JobState, StepState

# The columns of a step without the JSON, which is most of its bytes and of the time to read it.
OUTLINED = (
    "id", "job_id", "name", "stage", "engine", "task", "state", "attempt", "retries", "priority", "not_before",
    "worker_id", "code", "failure_class", "remedy", "summary", "created_at", "started_at", "finished_at",
    "passed_over", "waits_for",
)  # fmt: skip
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_LEAST = Demand()

Value = TypeVar("Value")


class RowUnreadable(NotReadyError):
    """A row, or a value of it, has a form that this version does not know."""

    def __init__(self, what: str, evidence: str) -> None:
        super().__init__(
            "row_unreadable",
            f"{what} cannot be read: a newer version or another program wrote it, or it is damaged",
            evidence=evidence[:200],
            remedy="update qmrunner to the version of the worker, correct the row, or restore a backup of the store",
        )


def _of_table(name: str, key: str) -> Callable[[Callable[[Row[Any]], Value]], Callable[[Row[Any]], Value]]:
    """Make a conversion of rows of the table `name` raise RowUnreadable for a row of another form."""

    def decorate(convert: Callable[[Row[Any]], Value]) -> Callable[[Row[Any]], Value]:
        @wraps(convert)
        def checked(row: Row[Any]) -> Value:
            try:
                if bytes in map(type, row):
                    raise TypeError("it has bytes in place of text")
                return convert(row)
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError, OSError) as problem:
                where = f"a row of `{name}` ({key} {str(row._mapping[key])[:60]!r})"
                raise RowUnreadable(where, f"{type(problem).__name__}: {problem}") from problem

        return checked

    return decorate


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{str(value)[:60]!r} is not an object")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{str(value)[:60]!r} is not a list")
    return tuple(map(str, value))


def _part(value: str) -> str:
    """A job's id or a step's name: it names folders and logs, so it must lead nowhere else."""
    if not value or "/" in value or value in (".", "..") or not value.isprintable():
        raise ValueError(f"{value[:60]!r} cannot be the name of a folder")
    return value


def _figures(value: Any) -> Mapping[str, Any]:
    """A demand or grant: numbers by name."""
    for name, figure in _mapping(value).items():
        if isinstance(figure, str | list | dict):
            raise TypeError(f"{name} is {str(figure)[:60]!r}, not a number")
    return dict(value)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{str(value)[:60]!r} is not a whole number")
    return value


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@_of_table("jobs", "id")
def to_job(row: Row[Any]) -> Job:
    return Job(
        id=_part(row.id),
        seq=row.seq,
        kind=row.kind,
        state=JobState(row.state),
        params=_mapping(row.params),
        name=row.name,
        priority=_whole(row.priority),
        key=row.key,
        code=row.code,
        summary=row.summary,
        created_at=_moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
        cancel_requested=row.cancel_requested,
        owner=row.owner,
        requires=labels.of_stored(row.requires or ""),
        group=row.group,
        structure=row.structure,
        inchikey=row.inchikey,
    )


@_of_table("steps", "id")
def to_step(row: Row[Any]) -> Step:
    return Step(
        id=row.id,
        job_id=_part(row.job_id),
        name=_part(row.name),
        stage=row.stage,
        engine=row.engine,
        task=row.task,
        params=_mapping(row.params),
        inputs=_mapping(row.inputs),
        after=_texts(row.after),
        demand=Demand(**_figures(row.demand)),
        state=StepState(row.state),
        attempt=_whole(row.attempt),
        retries=_whole(row.retries),
        priority=_whole(row.priority),
        not_before=moment(row.not_before),
        worker_id=row.worker_id,
        code=row.code,
        failure_class=row.failure_class,
        evidence=to_evidence(row.evidence),
        remedy=row.remedy,
        summary=row.summary,
        result=_mapping(row.result),
        created_at=_moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
        skips=row.passed_over,
        waits_for=row.waits_for,
    )


@_of_table("steps", "id")
def to_outline(row: Row[Any]) -> Step:
    """From a row of the columns `OUTLINED`, in this order: of 4,000 rows, names cost more than values."""
    (
        id_, job_id, name, stage, engine, task, state, attempt, retries, priority, not_before,
        worker_id, code, failure_class, remedy, summary, created_at, started_at, finished_at,
        passed_over, waits_for,
    ) = tuple(row)  # fmt: skip
    return Step(
        id_, job_id, _part(name), stage, engine, task, _NOTHING, _NOTHING, (), _LEAST, StepState(state), attempt,
        retries, priority, moment(not_before), worker_id, code, failure_class, None, remedy, summary, _NOTHING,
        _moment(created_at), moment(started_at), moment(finished_at), passed_over, waits_for,
    )  # fmt: skip


@_of_table("attempts", "step_id")
def to_attempt(row: Row[Any]) -> Attempt:
    """From a row of attempts joined with the `pid` of its worker as `worker_pid`."""
    return Attempt(
        step_id=row.step_id,
        number=row.number,
        state=AttemptState(row.state),
        worker_id=row.worker_id,
        worker_pid=row.worker_pid,
        guardian_pid=row.guardian["pid"] if row.guardian else None,
        engine_pid=row.engine_pid,
        directory=row.directory,
        log=row.log,
        grant=Grant(**_figures(row.granted)),
        progress=_mapping(row.progress),
        usage=_mapping(row.usage),
        notes=_texts(row.notes),
        code=row.code,
        summary=row.summary,
        created_at=_moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
    )


def to_evidence(value: dict[str, Any] | None) -> Evidence | None:
    return None if value is None else Evidence(**value)


def evidence_json(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {
        name: value for name, value in asdict(evidence).items() if value is not None or not name.startswith("input")
    }
