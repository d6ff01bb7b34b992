"""What `doctor` found on the machines of workers: the newest report of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from qmrunner.store.tables import examinations

RESULTS = ("ok", "warn", "fail")
_COUNTS = select(*(examinations.c[name] for name in ("worker_id", "at", *RESULTS)))


def save(connection: Connection, now: float, worker_id: int, checks: Sequence[Mapping[str, Any]]) -> None:
    """Replace the report of this worker. Each check has ``result``: ok, warn or fail."""
    results = [check["result"] for check in checks]
    counts = {word: results.count(word) for word in RESULTS}
    connection.execute(delete(examinations).where(examinations.c.worker_id == worker_id))
    connection.execute(
        insert(examinations).values(worker_id=worker_id, at=now, checks=[dict(check) for check in checks], **counts)
    )


def counts(connection: Connection) -> dict[int, dict[str, Any]]:
    """Worker id → ``{"at", "ok", "warn", "fail"}``, for the workers that have been examined."""
    return {row.worker_id: {"at": row.at, **_counted(row)} for row in connection.execute(_COUNTS)}


def of_worker(connection: Connection, worker_id: int) -> tuple[float, list[dict[str, Any]]] | None:
    """When the worker was examined (Unix s), and the checks; None if it was not."""
    found = select(examinations.c.at, examinations.c.checks).where(examinations.c.worker_id == worker_id)
    row = connection.execute(found).first()
    return None if row is None else (row.at, list(row.checks))


def _counted(row: Any) -> dict[str, int]:
    return {word: getattr(row, word) for word in RESULTS}
