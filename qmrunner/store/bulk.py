"""Actions of operators on many jobs: what they would move, and the moves, a few jobs in each transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from qmrunner.errors import NotFoundError, UsageError
from qmrunner.model.job_filter import JobFilter
from qmrunner.model.jobs import Job
from qmrunner.store import job_list, operator_actions
from qmrunner.store import jobs as job_store
from qmrunner.store.session import Store

# Jobs of one action: a larger crowd takes several.
MOST = 10_000
# Jobs of one transaction: other writers of SQLite wait for that many.
AT_ONCE = 25
VERBS = ("cancel", "retry", "hold", "release", "priority")


@dataclass(frozen=True, slots=True)
class Planned:
    """The jobs that an action would move, in the order given, and the others with the reason. `more`: the filter
    meets more jobs than one action moves."""

    verb: str
    moves: tuple[str, ...]
    states: dict[str, int]
    skipped: tuple[dict[str, Any], ...]
    more: bool = False


def chosen(connection: Connection, verb: str, ids: Sequence[str]) -> Planned:
    """The plan for these jobs."""
    known = job_store.get_all(connection, set(ids))
    return _planned(verb, [(job_id, known.get(job_id)) for job_id in dict.fromkeys(ids)])


def matching(connection: Connection, verb: str, wanted: JobFilter) -> Planned:
    """The plan for all jobs that meet a filter."""
    found = job_list.ids(connection, MOST + 1, wanted)
    known = job_store.get_all(connection, set(found[:MOST]))
    return _planned(verb, [(job_id, known.get(job_id)) for job_id in found[:MOST]], more=len(found) > MOST)


def _planned(verb: str, found: Collection[tuple[str, Job | None]], *, more: bool = False) -> Planned:
    moves, skipped, states = [], [], Counter[str]()
    for job_id, job in found:
        reason = _reason(verb, job)
        if reason is None and job is not None:
            moves.append(job_id)
            states[str(job.state)] += 1
        else:
            skipped.append({"id": job_id, "state": None if job is None else str(job.state), "reason": reason})
    return Planned(verb, tuple(moves), dict(states), tuple(skipped), more)


def _reason(verb: str, job: Job | None) -> str | None:
    """Why the action leaves this job as it is; None if it moves it."""
    if job is None:
        return "there is no such job"
    if job.state not in operator_actions.ALLOWED[verb]:
        return f"it is {job.state}; {verb} needs it to be {' or '.join(operator_actions.ALLOWED[verb])}"
    return "its cancellation was requested before" if verb == "cancel" and job.cancel_requested else None


def pieces(moves: Sequence[str]) -> Iterator[Sequence[str]]:
    """The jobs in pieces for `move`."""
    return (moves[i : i + AT_ONCE] for i in range(0, len(moves), AT_ONCE))


def move(
    store: Store, verb: str, ids: Sequence[str], *, by: str | None, allow_altering: bool = False, priority: int = 0
) -> tuple[list[Job], list[dict[str, Any]]]:
    """Move these jobs in one transaction: the moved ones, and those that meanwhile cannot be moved, with the reason."""
    more: dict[str, tuple[Any, ...]] = {"retry": (allow_altering,), "priority": (priority,)}
    act = partial(getattr(operator_actions, verb), by=by)
    moved, skipped = [], []
    with store.write() as connection:
        now = store.now()
        # In the order of their ids, so that two actions lock the same jobs in the same order.
        for job_id in sorted(ids):
            try:
                moved.append(act(connection, now, job_id, *more.get(verb, ())))
            except (UsageError, NotFoundError) as problem:  # raised before anything of this job is changed
                skipped.append({"id": job_id, "state": None, "reason": problem.message})
    return moved, skipped
