"""What unfinished jobs still need, to size a set of workers for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection, select

from qmrunner.model.app_tasks import ENGINE
from qmrunner.model.jobs import Demand
from qmrunner.model.states import StepState
from qmrunner.store.ready_steps import of_unfinished_jobs
from qmrunner.store.tables import steps

_OPEN = (StepState.WAITING, StepState.READY, StepState.CLAIMED, StepState.RUNNING)


def demands(connection: Connection, has: Sequence[str]) -> Iterator[tuple[list[Demand], list[Demand]]]:
    """For each unfinished job that workers with these labels may run: the demands of its steps that are ready or
    running, and of those that wait. Tasks of applications are left out: only their own worker runs them."""
    query = select(steps.c.job_id, steps.c.state, steps.c.demand).where(
        steps.c.state.in_(_OPEN), steps.c.engine != ENGINE
    )
    rows = connection.execute(of_unfinished_jobs(query, has).order_by(steps.c.job_id))
    for _, of_job in groupby(rows, lambda row: row.job_id):
        ready: list[Demand] = []
        waiting: list[Demand] = []
        for row in of_job:
            (waiting if row.state == StepState.WAITING else ready).append(Demand(**row.demand))
        if ready:
            yield ready, waiting
