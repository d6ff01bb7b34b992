"""One guarded UPDATE per move.

Zero rows changed is an answer: somebody else was first, or the attempt was fenced off.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, update

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
    sources, target = STEP_MOVES[move]
    if target in STEP_FINAL:
        values.setdefault("finished_at", now)
    if fence is not None and move != "claim":
        sources &= STEP_LIVE
    statement = update(steps).where(steps.c.id == step_id, steps.c.state.in_(sources))
    if fence is not None:
        statement = statement.where(steps.c.attempt == fence)
    return connection.execute(statement.values(state=target, **values)).rowcount == 1
