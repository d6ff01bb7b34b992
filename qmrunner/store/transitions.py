"""One guarded UPDATE per move.

Zero rows changed is an answer: somebody else was first, or the attempt was fenced off.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Update, bindparam, update

from qmrunner.model.states import JOB_FINAL, JOB_MOVES, STEP_FINAL, STEP_LIVE, STEP_MOVES
from qmrunner.store.tables import jobs, steps


def move_job(connection: Connection, now: float, job_id: str, move: str, **values: Any) -> bool:
    """Whether the job was in a state that `move` leads out of, and is now where it leads to."""
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
    itself, still has the step in hand: a requeued step keeps the number of the attempt that let go of it.
    """
    if STEP_MOVES[move][1] in STEP_FINAL:
        values.setdefault("finished_at", now)
    statement = _step_move(move, fence is not None, tuple(sorted(values)))
    given = {f"to_{name}": value for name, value in values.items()}
    return connection.execute(statement, {"step": step_id, "fence": fence, **given}).rowcount == 1


@cache  # few moves set few sets of columns, and building this costs more than executing it on SQLite
def _step_move(move: str, fenced: bool, names: tuple[str, ...]) -> Update:
    sources, target = STEP_MOVES[move]
    if fenced and move != "claim":
        sources &= STEP_LIVE
    statement = update(steps).where(steps.c.id == bindparam("step"), steps.c.state.in_(sources))
    if fenced:
        statement = statement.where(steps.c.attempt == bindparam("fence"))
    return statement.values(state=target, **{name: bindparam(f"to_{name}") for name in names})
