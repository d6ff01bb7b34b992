"""Measured peaks of a job: kept as events, so that every machine has them, and their history names who changed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from qmrunner.store import events, jobs
from qmrunner.store.tables import events as table

_REMOVED = "measured_removed"
_OURS = ("measured_set", _REMOVED)


@dataclass(frozen=True, slots=True)
class Measured:
    """The text that a user gave, and the nucleus of a list without a heading. `at` is in Unix seconds, `by` the name of
    the token, None where none is needed."""

    text: str
    nucleus: str | None
    at: float
    by: str | None


def of_job(connection: Connection, job_id: str) -> Measured | None:
    """The newest peaks of a job; None if it has none. Raises NotFoundError `job_unknown`."""
    jobs.get(connection, job_id)
    query = select(table).where(table.c.job_id == job_id, table.c.event.in_(_OURS)).order_by(table.c.id.desc()).limit(1)
    row: Any = connection.execute(query).mappings().first()
    if row is None or row["event"] == _REMOVED:
        return None
    data = row["data"]
    return Measured(str(data["text"]), data.get("nucleus"), float(row["at"]), data.get("by"))


def keep(connection: Connection, now: float, job_id: str, text: str, nucleus: str | None, by: str | None) -> None:
    """Replace the peaks of a job. The same peaks again add no event. Raises NotFoundError `job_unknown`."""
    before = of_job(connection, job_id)
    if before is None or (before.text, before.nucleus) != (text, nucleus):
        events.append(connection, now, "measured_set", job_id=job_id, text=text, nucleus=nucleus, by=by)


def remove(connection: Connection, now: float, job_id: str, by: str | None) -> bool:
    """Remove the peaks of a job; False if it has none. Raises NotFoundError `job_unknown`."""
    if of_job(connection, job_id) is None:
        return False
    events.append(connection, now, "measured_removed", job_id=job_id, by=by)
    return True
