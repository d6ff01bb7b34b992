"""The append-only history."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from qmrunner.store.tables import events


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
    connection.execute(
        events.insert().values(
            at=now, event=event, job_id=job_id, step=step, attempt=attempt, worker_id=worker_id, data=kept
        )
    )


def of_job(connection: Connection, job_id: str, limit: int = 500) -> list[dict[str, Any]]:
    """The events of one job, oldest first."""
    rows = connection.execute(
        select(events).where(events.c.job_id == job_id).order_by(events.c.id.desc()).limit(limit)
    ).all()
    return [dict(row._mapping) for row in reversed(rows)]
