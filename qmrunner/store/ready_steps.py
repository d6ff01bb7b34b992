"""The ready steps, and the order in which they are claimed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, exists, func, or_, select

from qmrunner.model import labels
from qmrunner.model.jobs import ENGINES, Step
from qmrunner.model.packing import MAX_SKIPS
from qmrunner.model.policy import RETRY_DELAY_CAP_S
from qmrunner.model.states import JobState, StepState
from qmrunner.store.rows import RowUnreadable, to_step
from qmrunner.store.tables import jobs, reservations, steps

_CANDIDATES = 64
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)
_LEFT = (StepState.WAITING, StepState.READY, StepState.CLAIMED, StepState.RUNNING)


def any_ready(connection: Connection, now: float, has: Sequence[str] = ()) -> bool:
    """Whether a worker with these labels has a step to claim: a cheap check before the write lock is taken."""
    return connection.execute(_first(tuple(has)), _at(now)).first() is not None


def best(connection: Connection, now: float, has: Sequence[str] = ()) -> list[Step]:
    """The steps that a worker with these labels may claim, the best first; as many as one claim considers.

    A step that cannot be read, or whose engine this version does not have, holds up no other one: a newer worker may
    run it.
    """
    found = []
    rows = connection.execute(_best(tuple(has)), _at(now))
    more = True
    while more:
        try:
            row = rows.fetchone()
            more = row is not None
            if row is not None and row.engine in ENGINES:
                found.append(to_step(row))
        except RowUnreadable:
            continue
    return found


def ready_before(connection: Connection, now: float, step_id: int) -> int:
    """How many ready steps come before this one; 0 when it may not be claimed now."""
    query = _in_order(_claimable(select(steps.c.id), None))
    order = [row.id for row in connection.execute(query, _at(now))]
    return order.index(step_id) if step_id in order else 0


def next_ready_at(connection: Connection, now: float) -> float | None:
    """When the next delayed step may be claimed, Unix seconds."""
    query = select(func.min(steps.c.not_before)).where(steps.c.state == StepState.READY, steps.c.not_before > now)
    return connection.execute(query).scalar()


def any_left(connection: Connection) -> bool:
    """Whether steps of unfinished jobs wait, are ready now or later, or run; held jobs wait for a person."""
    query = (
        select(steps.c.id)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(steps.c.state.in_(_LEFT), jobs.c.state.in_(_UNFINISHED), jobs.c.cancel_requested.is_(False))
    )
    return connection.execute(query.limit(1)).first() is not None


def of_unfinished_jobs(query: Select[Any], has: Sequence[str]) -> Select[Any]:
    """A query of steps, restricted to unfinished jobs that workers with these labels may run; held ones are not."""
    return query.join(jobs, jobs.c.id == steps.c.job_id).where(
        jobs.c.state.in_(_UNFINISHED), jobs.c.cancel_requested.is_(False), _met_by(has)
    )


# Built once for each set of labels: every claim runs it, and on SQLite building costs more than executing.
@cache
def _first(has: tuple[str, ...]) -> Select[Any]:
    return _claimable(select(steps.c.id), has).limit(1)


@cache
def _best(has: tuple[str, ...]) -> Select[Any]:
    # Only the keys are sorted: rows are wide, and all ready ones go through the sort.
    first = _in_order(_claimable(select(steps.c.id), has)).limit(_CANDIDATES).subquery("first")
    return select(steps).join(first, first.c.id == steps.c.id).order_by(*(key for key in first.c if key.name != "id"))


def _at(now: float) -> dict[str, float]:
    # Later than any retry delay allows: the clock was stepped back since.
    return {"now": now, "too_far": now + 2 * RETRY_DELAY_CAP_S}


def _claimable(query: Select[Any], has: Sequence[str] | None) -> Select[Any]:
    """Ready steps that a worker with these labels may take; with None, any worker. Executed with the parameters of
    `_at`."""
    return query.join(jobs, jobs.c.id == steps.c.job_id).where(
        steps.c.state == StepState.READY,
        jobs.c.state.in_(_UNFINISHED),
        jobs.c.cancel_requested.is_(False),
        or_(
            steps.c.not_before.is_(None),
            steps.c.not_before <= bindparam("now"),
            steps.c.not_before > bindparam("too_far"),
        ),
        or_(steps.c.content_key.is_(None), ~_same_is_live()),
        *(() if has is None else (_met_by(has),)),
    )


def _same_is_live() -> ColumnElement[bool]:
    """Whether a step with the same content is claimed or running. A ready step has its content recorded if it has
    waited for such a step or was started before."""
    other = steps.alias("other")
    live = other.c.state.in_((StepState.CLAIMED, StepState.RUNNING))
    return exists().where(other.c.content_key == steps.c.content_key, live)


def _met_by(has: Sequence[str]) -> ColumnElement[bool]:
    """Whether no required label is left once these labels are removed from the job's."""
    left: ColumnElement[str] = func.coalesce(jobs.c.requires, "")
    for label in has:
        left = func.replace(left, labels.stored([label]), "")
    return left == ""


def _in_order(query: Select[Any]) -> Select[Any]:
    """Order by priority; steps skipped too often; the user with the fewest cores; the order of submission.

    The keys are columns of the result, too.
    """
    held = reservations.join(steps, steps.c.id == reservations.c.step_id).join(jobs, jobs.c.id == steps.c.job_id)
    owner = func.coalesce(jobs.c.owner, "")  # jobs without a known owner count as one user's
    cores = select(owner.label("owner"), func.sum(reservations.c.cores).label("cores")).select_from(held)
    share = cores.group_by(owner).subquery("share")
    keys = (
        -steps.c.priority,
        case((steps.c.passed_over >= MAX_SKIPS, 0), else_=1),
        func.coalesce(share.c.cores, 0),
        jobs.c.seq,
        steps.c.id,
    )
    named = [key.label(f"key{place}") for place, key in enumerate(keys)]
    return query.outerjoin(share, share.c.owner == owner).add_columns(*named).order_by(*named)
