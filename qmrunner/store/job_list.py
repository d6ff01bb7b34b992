"""The list of jobs: filtered, in pages, counted. Reads the store in the order of an index, however many jobs it has."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, and_, func, literal, select

from qmrunner.model.job_filter import JobFilter, is_inchikey
from qmrunner.model.jobs import Job
from qmrunner.model.states import JobState
from qmrunner.store.jobs import COUNTED
from qmrunner.store.rows import to_job
from qmrunner.store.tables import jobs

# Jobs that a filter finds are looked up one by one in the table.
COUNTED_FILTERED = 10_000
# Jobs are numbered in the order of their submission, except for those submitted at the same moment on several machines.
_SLACK_S = 3600.0
_ABOVE_ALL = 2**31 - 1  # of the column
# The most selective filter first: its index is read, the other conditions are checked.
_DRIVERS = ("codes", "owners", "groups", "states", "kinds")
_COLUMNS: dict[str, Column[Any]] = {
    "codes": jobs.c.code, "owners": jobs.c.owner, "groups": jobs.c.group, "states": jobs.c.state, "kinds": jobs.c.kind,
}  # fmt: skip


def page(connection: Connection, limit: int, wanted: JobFilter, before: int | None = None) -> list[Job]:
    """The first `limit` jobs that meet `wanted`, newest first, older than `before` (a `seq`)."""
    found = numbers(connection, limit, wanted, before)
    rows = connection.execute(select(jobs).where(jobs.c.seq.in_(found)).order_by(jobs.c.seq.desc()))
    return [to_job(row) for row in rows] if found else []


def numbers(connection: Connection, limit: int, wanted: JobFilter, before: int | None = None) -> list[int]:
    """The same as `seq` of the jobs."""
    parts = _parts(wanted)
    found: set[int] = set()
    for part in parts:
        query = select(jobs.c.seq).where(*_conditions(connection, part)).order_by(jobs.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.seq < before)
        found.update(connection.execute(query).scalars())
    return sorted(found, reverse=True)[:limit]


def ids(connection: Connection, limit: int, wanted: JobFilter) -> list[str]:
    """The ids of the first `limit` jobs that meet `wanted`, newest first."""
    found = numbers(connection, limit, wanted)
    parts = (found[i : i + 500] for i in range(0, len(found), 500))
    query = select(jobs.c.seq, jobs.c.id)
    rows = (row for part in parts for row in connection.execute(query.where(jobs.c.seq.in_(part))))
    by_number = {row.seq: row.id for row in rows}
    return [by_number[number] for number in found]


def counts(connection: Connection, wanted: JobFilter) -> dict[str, Any]:
    """How many jobs meet `wanted`, and how many would in each other state.

    ``total``, ``states`` (state to number) and ``more``, whether there are more: at most `COUNTED_FILTERED` are
    counted, or `COUNTED` of each state where there is no other condition.
    """
    others = replace(wanted, states=())
    if others.admits_all:
        found = {str(state): _count(connection, state) for state in JobState}
        more = any(number > COUNTED for number in found.values())
        found = {state: min(number, COUNTED) for state, number in found.items() if number}
    else:
        states: dict[int, str] = {}
        for part in _parts(others):
            # The numbers come from an index alone, and only these rows are read.
            some = select(jobs.c.seq).where(*_conditions(connection, part)).limit(COUNTED_FILTERED + 1)
            query = select(jobs.c.seq, jobs.c.state).where(jobs.c.seq.in_(some))
            states.update((row.seq, row.state) for row in connection.execute(query))
        more = len(states) > COUNTED_FILTERED
        counted = Counter(list(states.values())[:COUNTED_FILTERED])
        found = {str(state): counted[state] for state in JobState if counted[state]}
    total = sum(number for state, number in found.items() if not wanted.states or state in wanted.states)
    return {"total": total, "states": found, "more": more}


def _count(connection: Connection, state: JobState) -> int:
    some = select(literal(1)).where(jobs.c.state == state).limit(COUNTED + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _parts(wanted: JobFilter) -> list[JobFilter]:
    """Filters with a single value each of the field whose index is read: only then the index has the list's order."""
    if wanted.structure is not None:
        return [wanted]
    for name in _DRIVERS:
        values = getattr(wanted, name)
        if values:
            return [_with(wanted, name, value) for value in values]
    return [wanted]


def _with(wanted: JobFilter, name: str, value: str) -> JobFilter:
    single: dict[str, Any] = {name: (value,)}
    return replace(wanted, **single)


def _conditions(connection: Connection, wanted: JobFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for name, column in _COLUMNS.items():
        values = getattr(wanted, name)
        if values:
            found.append(column == values[0] if len(values) == 1 else column.in_(values))
    if wanted.structure is not None:
        found.append(_structure(wanted.structure))
    found += [_named(connection, word) for word in wanted.words]
    if wanted.since is not None:
        found += [jobs.c.created_at >= wanted.since, jobs.c.seq > _last_before(connection, wanted.since - _SLACK_S)]
    if wanted.until is not None:
        found += [jobs.c.created_at < wanted.until, jobs.c.seq < _first_from(connection, wanted.until + _SLACK_S)]
    return found


def _named(connection: Connection, word: str) -> ColumnElement[bool]:
    """The name contains the word, whatever its case: LIKE of SQLite is so for ASCII by itself, and without lower() a
    search through a million names takes half the time."""
    sqlite = connection.dialect.name == "sqlite"
    return (jobs.c.name.contains if sqlite else jobs.c.name.icontains)(word, autoescape=True)


def _structure(text: str) -> ColumnElement[bool]:
    if not is_inchikey(text):
        return jobs.c.structure == text
    if len(text) == 27:
        return jobs.c.inchikey == text
    # A range of the index in every collation, also one that ignores hyphens.
    return and_(jobs.c.inchikey.between(text, f"{text}-ZZZZZZZZZZ-Z"), func.substr(jobs.c.inchikey, 1, 14) == text)


def _last_before(connection: Connection, moment: float) -> int:
    """The `seq` of the last job submitted before `moment` (Unix s); -1 if there is none."""
    query = select(jobs.c.seq).where(jobs.c.created_at < moment).order_by(jobs.c.created_at.desc()).limit(1)
    found = connection.execute(query).scalar()
    return -1 if found is None else int(found)


def _first_from(connection: Connection, moment: float) -> int:
    """The `seq` of the first job submitted at `moment` (Unix s) or later; above all if there is none."""
    query = select(jobs.c.seq).where(jobs.c.created_at >= moment).order_by(jobs.c.created_at).limit(1)
    found = connection.execute(query).scalar()
    return _ABOVE_ALL if found is None else int(found)
