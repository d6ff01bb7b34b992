"""One guarded UPDATE per move.

Zero changed rows mean: another process was first, or the attempt no longer owns the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Update, bindparam, func, update

from qmrunner.model.states import JOB_FINAL, JOB_MOVES, STEP_FINAL, STEP_LIVE, STEP_MOVES
from qmrunner.store.tables import jobs, steps


def move_job(connection: Connection, now: float, job_id: str, move: str, **values: Any) -> bool:
    """Make the move if the job is in a state that allows it. Returns whether it was made."""
    if JOB_MOVES[move][1] in JOB_FINAL:
        values.setdefault("finished_at", now)
    elif move == "start":
        values["started_at"] = now
    elif move in ("retry", "release"):
        values.update(finished_at=None, code=None, summary=None, cancel_requested=False)
    statement = _job_move(move, tuple(sorted(values)))
    return connection.execute(statement, {"job": job_id, **_given(values)}).rowcount == 1


def move_step(
    connection: Connection, now: float, step_id: int, move: str, *, fence: int | None = None, **values: Any
) -> bool:
    """Like `move_job` for a step; with `fence`, only while that attempt is the newest and, unless this is the claim
    itself, still owns the step: a requeued step keeps the number of its last attempt.
    """
    if STEP_MOVES[move][1] in STEP_FINAL:
        values.setdefault("finished_at", now)
    statement = _step_move(move, fence is not None, tuple(sorted(values)))
    return connection.execute(statement, {"step": step_id, "fence": fence, **_given(values)}).rowcount == 1


# There are few combinations of moves and columns, and on SQLite building a statement costs more than executing it.
@cache
def _job_move(move: str, names: tuple[str, ...]) -> Update:
    sources, target = JOB_MOVES[move]
    statement = update(jobs).where(jobs.c.id == bindparam("job"), jobs.c.state.in_(sources))
    bound: dict[str, ColumnElement[Any]] = {**_bound(names)}
    if move == "start":
        bound["started_at"] = func.coalesce(jobs.c.started_at, bound["started_at"])  # each step's claim starts its job
    return statement.values(state=target, **bound)


@cache
def _step_move(move: str, fenced: bool, names: tuple[str, ...]) -> Update:
    sources, target = STEP_MOVES[move]
    if fenced and move != "claim":
        sources &= STEP_LIVE
    statement = update(steps).where(steps.c.id == bindparam("step"), steps.c.state.in_(sources))
    if fenced:
        statement = statement.where(steps.c.attempt == bindparam("fence"))
    return statement.values(state=target, **_bound(names))


def _bound(names: tuple[str, ...]) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(f"to_{name}") for name in names}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"to_{name}": value for name, value in values.items()}
