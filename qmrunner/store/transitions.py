"""One guarded UPDATE per move.

Zero changed rows mean: another process was first, or the attempt no longer owns the step.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Update, bindparam, update

from qmrunner.model.states import JOB_FINAL, JOB_MOVES, STEP_FINAL, STEP_LIVE, STEP_MOVES
from qmrunner.store.tables import jobs, steps


def move_job(connection: Connection, now: float, job_id: str, move: str, **values: Any) -> bool:
    """Make the move if the job is in a state that allows it. Returns whether it was made."""
    sources, target = JOB_MOVES[move]
    if target in JOB_FINAL:
        values.setdefault("finished_at", now)
    elif move in ("retry", "release"):
        values.update(finished_at=None, code=None, summary=None, cancel_requested=False)
    statement = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(sources)).values(state=target, **values)
    return connection.execute(statement).rowcount == 1


def move_step(
    connection: Connection, now: float, step_id: int, move: str, *, fence: int | None = None, **values: Any
) -> bool:
    """Like `move_job` for a step; with `fence`, only while that attempt is the newest and, unless this is the claim
    itself, still owns the step: a requeued step keeps the number of its last attempt.
    """
    if STEP_MOVES[move][1] in STEP_FINAL:
        values.setdefault("finished_at", now)
    statement = _step_move(move, fence is not None, tuple(sorted(values)))
    given = {f"to_{name}": value for name, value in values.items()}
    return connection.execute(statement, {"step": step_id, "fence": fence, **given}).rowcount == 1


@cache  # there are few combinations, and on SQLite building the statement costs more than executing it
def _step_move(move: str, fenced: bool, names: tuple[str, ...]) -> Update:
    sources, target = STEP_MOVES[move]
    if fenced and move != "claim":
        sources &= STEP_LIVE
    statement = update(steps).where(steps.c.id == bindparam("step"), steps.c.state.in_(sources))
    if fenced:
        statement = statement.where(steps.c.attempt == bindparam("fence"))
    return statement.values(state=target, **{name: bindparam(f"to_{name}") for name in names})
