"""Counts of unfinished work, for metrics. Finished rows are not read, however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from qmrunner.model.states import ATTEMPT_LIVE, JOB_FINAL, STEP_FINAL, STEP_LIVE, JobState, StepState
from qmrunner.store.tables import attempts, jobs, steps, workers

_UNFINISHED_JOBS = sorted(set(JobState) - JOB_FINAL)
_UNFINISHED_STEPS = sorted(set(StepState) - STEP_FINAL)


@dataclass(frozen=True, slots=True)
class Figures:
    """Unfinished `jobs` and `steps` by state, `running` steps by engine, `orphaned` attempts of dead workers, and the
    ids of workers that have live attempts."""

    jobs: dict[str, int]
    steps: dict[str, int]
    running: dict[str, int]
    orphaned: int
    working: set[int]


def now(connection: Connection) -> Figures:
    live = attempts.c.state.in_(ATTEMPT_LIVE)
    dead = select(workers.c.id).where(workers.c.state == "dead")
    orphaned = select(func.count()).select_from(attempts).where(live, attempts.c.worker_id.in_(dead))
    return Figures(
        jobs=_counted(connection, jobs.c.state, jobs.c.state.in_(_UNFINISHED_JOBS), _UNFINISHED_JOBS),
        steps=_counted(connection, steps.c.state, steps.c.state.in_(_UNFINISHED_STEPS), _UNFINISHED_STEPS),
        running=_counted(connection, steps.c.engine, steps.c.state.in_(STEP_LIVE), []),
        orphaned=int(connection.execute(orphaned).scalar_one()),
        working={row.worker_id for row in connection.execute(select(attempts.c.worker_id).where(live).distinct())},
    )


def _counted(connection: Connection, column: Any, which: Any, words: list[Any]) -> dict[str, int]:
    rows = connection.execute(select(column, func.count()).where(which).group_by(column))
    return {**{str(word): 0 for word in words}, **{str(row[0]): row[1] for row in rows}}
