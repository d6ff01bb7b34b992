"""The append-only history."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, func, select

from qmrunner.store.tables import events

_APPEND = events.insert()
LOOKED_AT = 20_000


def append(
    connection: Connection,
    now: float,
    event: str,
    *,
    job_id: str | None = None,
    step: str | None = None,
    attempt: int | None = None,
    worker_id: int | None = None,
    **data: Any,
) -> None:
    kept = {name: value for name, value in data.items() if value is not None}
    row = {"at": now, "event": event, "job_id": job_id, "step": step, "attempt": attempt, "worker_id": worker_id}
    connection.execute(_APPEND, {**row, "data": kept})


def since(connection: Connection, job_id: str, after: int, limit: int | None = None) -> list[dict[str, Any]]:
    """The events of one job with ids above `after`, oldest first."""
    query = select(events).where(events.c.job_id == job_id, events.c.id > after).order_by(events.c.id).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query).all()]


def all_since(connection: Connection, after: int, limit: int, before: float | None = None) -> list[dict[str, Any]]:
    """Events of all jobs with ids above `after`, oldest first, up to the first that is not older than `before` (Unix
    seconds)."""
    query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
    found = [dict(row._mapping) for row in connection.execute(query).all()]
    young = next((i for i, row in enumerate(found) if before is not None and row["at"] >= before), len(found))
    return found[:young]


def recent(
    connection: Connection, limit: int, *, before: int | None = None, names: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Events of all jobs, newest first, with ids below `before`, only those called one of `names` if there are any.

    A name that is rare is looked for among the newest `LOOKED_AT` events only.
    """
    query = select(events).order_by(events.c.id.desc())
    if before is not None:
        query = query.where(events.c.id < before)
    if not names:
        return [dict(row._mapping) for row in connection.execute(query.limit(limit)).all()]
    start = before if before is not None else newest(connection) + 1
    query = query.where(events.c.event.in_(sorted(names)), events.c.id >= start - LOOKED_AT)
    return [dict(row._mapping) for row in connection.execute(query.limit(limit)).all()]


def newest(connection: Connection) -> int:
    """The highest id, 0 if there is no event."""
    return connection.execute(select(func.max(events.c.id))).scalar() or 0


def of_job(connection: Connection, job_id: str, limit: int = 500) -> list[dict[str, Any]]:
    """The events of one job, oldest first."""
    rows = connection.execute(
        select(events).where(events.c.job_id == job_id).order_by(events.c.id.desc()).limit(limit)
    ).all()
    return [dict(row._mapping) for row in reversed(rows)]
