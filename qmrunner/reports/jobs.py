"""The JSON of job lists, and of a job with so many steps that each can only have a letter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from qmrunner.app import App
from qmrunner.model.job_filter import JobFilter
from qmrunner.model.jobs import Step
from qmrunner.model.states import StepState
from qmrunner.reports import interrupted
from qmrunner.reports.status import job_row
from qmrunner.store import job_list
from qmrunner.store import jobs as job_store

# One letter for each state of a step.
LETTERS = {
    StepState.WAITING: "w", StepState.READY: "r", StepState.CLAIMED: "c", StepState.RUNNING: "R", StepState.HELD: "h",
    StepState.SUCCEEDED: "s", StepState.FAILED: "f", StepState.CANCELLED: "x", StepState.SKIPPED: "k",
}  # fmt: skip
_MOST_NOTABLE = 200


def page(app: App, limit: int, wanted: JobFilter, *, before: int | None = None, count: bool = False) -> dict[str, Any]:
    """Jobs that meet `wanted`, newest first, with ``next``: the `before` of the next page, None on the last page.

    With `count` also ``count``, see `store.job_list.counts`.
    """
    with app.store.read() as connection:
        found = job_list.page(connection, limit + 1, wanted, before)
        shown = found[:limit]
        steps = job_store.outlines(connection, [job.id for job in shown])
        stopped = interrupted.of_jobs(app, connection, shown)
        counted = {"count": job_list.counts(connection, wanted)} if count else {}
    return {
        "jobs": [job_row(job, steps[job.id], stopped) for job in shown],
        "next": str(shown[-1].seq) if len(found) > limit else None,
        **counted,
    }


def summary(app: App, job_id: str) -> dict[str, Any]:
    """A job with ``stages`` instead of its steps: 15 bytes for each step. Raises NotFoundError.

    A stage has the ids of its steps without their common ``prefix``, and in ``states`` one letter for each, in the same
    order. ``notable`` lists the steps that run, are held or failed, or needed several attempts, at most 200.
    """
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        steps = job_store.outline(connection, job_id)
        stopped = interrupted.of_jobs(app, connection, [job])
    stages: dict[str, list[Step]] = {}
    for step in steps:
        stages.setdefault(step.stage, []).append(step)
    notable = [step for step in steps if step.state not in job_store.PLAIN or step.attempt > 1]
    return {
        "job": {
            **job_row(job, steps, stopped),
            "letters": {letter: str(state) for state, letter in LETTERS.items()},
            "stages": [stage(name, mine) for name, mine in stages.items()],
            "notable": [
                {"id": step.name, "state": step.state, "attempt": step.attempt, "code": step.code}
                for step in notable[:_MOST_NOTABLE]
            ],
            "notable_more": max(0, len(notable) - _MOST_NOTABLE),
        }
    }


def stage(name: str, steps: Sequence[Step]) -> dict[str, Any]:
    """One of the ``stages`` of `summary`."""
    prefix = _common([step.name for step in steps]) if len(steps) > 1 else ""
    return {
        "stage": name,
        "engines": sorted({step.engine for step in steps}),
        "counts": dict(Counter(str(step.state) for step in steps)),
        "prefix": prefix,
        "ids": [step.name.removeprefix(prefix) for step in steps],
        "states": "".join(LETTERS[step.state] for step in steps),
    }


def _common(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = next((i for i, (here, there) in enumerate(zip(first, last, strict=False)) if here != there), len(first))
    return first[:same]
