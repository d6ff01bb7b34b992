"""Queries about attempts, for sweeps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from qmrunner.model.policy import Earlier
from qmrunner.model.states import ATTEMPT_LIVE, STEP_FINAL, AttemptState, StepState
from qmrunner.store.tables import attempts, jobs, steps

_AT_ONCE = 500


def ended_markers(connection: Connection, markers: Collection[str]) -> set[str]:
    """The given markers that belong to ended attempts of this store. Unknown markers are left out."""
    ended: set[str] = set()
    for part in _parts(sorted(markers)):
        query = select(attempts.c.marker).where(attempts.c.marker.in_(part), attempts.c.state.not_in(ATTEMPT_LIVE))
        ended |= {row.marker for row in connection.execute(query)}
    return ended


@dataclass(frozen=True, slots=True)
class StepFate:
    """The facts about a step that a sweep needs: has it ended, when (Unix s), and which attempt is the newest."""

    over: bool
    failed: bool
    live: bool
    attempt: int
    ended_at: float | None


def fates(connection: Connection, job_ids: Iterable[str]) -> Mapping[tuple[str, str], StepFate]:
    """(job id, step name) → fate, for all steps of the given jobs."""
    found: dict[tuple[str, str], StepFate] = {}
    for part in _parts(sorted(job_ids)):
        query = select(steps.c.job_id, steps.c.name, steps.c.state, steps.c.attempt, steps.c.finished_at).where(
            steps.c.job_id.in_(part)
        )
        for row in connection.execute(query):
            found[(row.job_id, row.name)] = StepFate(
                over=row.state in STEP_FINAL,
                failed=row.state in (StepState.FAILED, StepState.HELD),
                live=row.state in (StepState.CLAIMED, StepState.RUNNING),
                attempt=row.attempt,
                ended_at=row.finished_at,
            )
    return found


def last_failure(connection: Connection, step_id: int, before: int) -> Earlier | None:
    """How the newest attempt of a step below number `before` that failed did so. Stopped and lost attempts are not
    failures."""
    query = (
        select(attempts.c.number, attempts.c.code, attempts.c.summary)
        .where(attempts.c.step_id == step_id, attempts.c.number < before, attempts.c.state == AttemptState.FAILED)
        .order_by(attempts.c.number.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None or not row.code or not row.summary else Earlier(row.number, row.code, row.summary)


def unpublished(connection: Connection, since: float) -> list[tuple[str, str, int]]:
    """(job id, step name, number) of attempts that have lost their step since then (Unix s)."""
    query = (
        select(attempts.c.job_id, steps.c.name, attempts.c.number)
        .join(steps, steps.c.id == attempts.c.step_id)
        .where(attempts.c.state.in_((AttemptState.LOST, AttemptState.CANCELLED)), attempts.c.finished_at >= since)
        .order_by(attempts.c.step_id, attempts.c.number)
    )
    return [(row.job_id, row.name, row.number) for row in connection.execute(query)]


def ended_jobs(connection: Connection, before: float) -> set[str]:
    """Jobs that ended before that time (Unix s)."""
    query = select(jobs.c.id).where(jobs.c.finished_at.is_not(None), jobs.c.finished_at < before)
    return {row.id for row in connection.execute(query)}


def _parts(values: list[str]) -> Iterable[list[str]]:
    return (values[i : i + _AT_ONCE] for i in range(0, len(values), _AT_ONCE))
