"""Conversion of rows to the values of `qmrunner.model`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

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


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def to_job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        seq=row.seq,
        kind=row.kind,
        state=JobState(row.state),
        params=row.params,
        name=row.name,
        priority=row.priority,
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


def to_step(row: Row[Any]) -> Step:
    return Step(
        id=row.id,
        job_id=row.job_id,
        name=row.name,
        stage=row.stage,
        engine=row.engine,
        task=row.task,
        params=row.params,
        inputs=row.inputs,
        after=tuple(row.after),
        demand=Demand(**row.demand),
        state=StepState(row.state),
        attempt=row.attempt,
        retries=row.retries,
        priority=row.priority,
        not_before=moment(row.not_before),
        worker_id=row.worker_id,
        code=row.code,
        failure_class=row.failure_class,
        evidence=to_evidence(row.evidence),
        remedy=row.remedy,
        summary=row.summary,
        result=row.result,
        created_at=_moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
        skips=row.passed_over,
        waits_for=row.waits_for,
    )


def to_outline(row: Row[Any]) -> Step:
    """From a row of the columns `OUTLINED`, in this order: of 4,000 rows, names cost more than values."""
    (
        id_, job_id, name, stage, engine, task, state, attempt, retries, priority, not_before,
        worker_id, code, failure_class, remedy, summary, created_at, started_at, finished_at,
        passed_over, waits_for,
    ) = tuple(row)  # fmt: skip
    return Step(
        id_, job_id, name, stage, engine, task, _NOTHING, _NOTHING, (), _LEAST, StepState(state), attempt, retries,
        priority, moment(not_before), worker_id, code, failure_class, None, remedy, summary, _NOTHING,
        _moment(created_at), moment(started_at), moment(finished_at), passed_over, waits_for,
    )  # fmt: skip


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
        grant=Grant(**row.granted),
        progress=row.progress,
        usage=row.usage,
        notes=tuple(row.notes),
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
