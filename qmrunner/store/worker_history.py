"""What a worker has done lately. Reads the newest attempts and events only, however long the history is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, select

from qmrunner.store.tables import attempts, events

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
