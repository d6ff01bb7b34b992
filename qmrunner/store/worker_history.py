"""What workers have done lately. Reads the newest attempts and events only, however long the history is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from qmrunner.model.states import ATTEMPT_LIVE
from qmrunner.store.tables import attempts, events, workers

_LOOKED_AT = 5000


def since(connection: Connection, worker_id: int, start: float, now: float) -> dict[str, Any]:
    """From `start` to `now` (Unix s), among the newest attempts and events: ``core_hours``, ``attempts`` (state to
    number) and ``restarts`` of the consumer."""
    ran = (attempts.c.started_at, attempts.c.finished_at)
    newest = (
        select(attempts.c.worker_id, attempts.c.state, attempts.c.granted, *ran)
        .order_by(attempts.c.step_id.desc(), attempts.c.number.desc())
        .limit(_LOOKED_AT)
    )
    rows = [
        row
        for row in connection.execute(newest)
        if row.worker_id == worker_id and row.started_at is not None and (row.finished_at or now) >= start
    ]
    seconds = sum(
        row.granted["cores"] * max(0.0, (row.finished_at or now) - max(row.started_at, start)) for row in rows
    )
    happened = select(events.c.event, events.c.worker_id, events.c.at).order_by(events.c.id.desc()).limit(_LOOKED_AT)
    restarts = sum(
        row.event == "consumer_died" and row.worker_id == worker_id and row.at >= start
        for row in connection.execute(happened)
    )
    return {
        "core_hours": round(seconds / 3600, 4),
        "attempts": dict(Counter(str(row.state) for row in rows)),
        "restarts": restarts,
    }


def owners(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[int]]:
    """The workers of the live attempts of these jobs, by job."""
    found: dict[str, list[int]] = {}
    live = select(attempts.c.job_id, attempts.c.worker_id).where(attempts.c.state.in_(sorted(ATTEMPT_LIVE)))
    for part in (job_ids[i : i + 500] for i in range(0, len(job_ids), 500)):
        for row in connection.execute(live.where(attempts.c.job_id.in_(part)).distinct()):
            found.setdefault(row.job_id, []).append(row.worker_id)
    return found


def rows(connection: Connection, worker_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """The rows of these workers, by their id."""
    if not worker_ids:
        return {}
    found = connection.execute(select(workers).where(workers.c.id.in_(sorted(worker_ids))))
    return {row.id: dict(row._mapping) for row in found}


def last(connection: Connection) -> float | None:
    """When any worker last wrote a heartbeat (Unix s); None before the first worker."""
    return connection.execute(select(func.max(workers.c.beat_at))).scalar()
