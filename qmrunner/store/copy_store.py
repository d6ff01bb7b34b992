"""Copy a whole store into an empty one: every row in one transaction, counted and hashed on both sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, exc, func, select, text

from qmrunner.errors import NotReadyError, UsageError
from qmrunner.store import schema
from qmrunner.store.postgres import storable
from qmrunner.store.session import Store
from qmrunner.store.tables import metadata, workers

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: the number of rows, and the SHA-256 of their content in the order of the primary key."""

    table: str
    rows: int
    sha256: str


def copy(source: Store, target: Store, *, lease_s: float) -> list[Copied]:
    """Copy every table of `source` into `target`, in one transaction.

    Creates the tables in an empty database first. Raises NotReadyError, with nothing changed in `target`, when a worker
    wrote a heartbeat within the last `lease_s`, when either schema is not this program's, and on any failure;
    UsageError when `target` is not a server or not empty.
    """
    if target.is_sqlite:
        raise UsageError("copy_target", f"{target.url} is no server", remedy="use postgresql://user@host:5432/name")
    schema.require_current(source, create=False)
    schema.require_current(target, create=True)
    try:
        # The write lock on the source prevents changes during the copy.
        with source.write() as old, target.write() as new:
            _refuse_running(old, source.now(), lease_s)
            _lock_and_refuse_filled(new, target)
            new.execute(text("SET LOCAL statement_timeout = 0"))
            for either, store in ((old, source), (new, target)):
                if not store.is_sqlite:  # each is idle while the other one works
                    either.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            copied = [_copy_table(old, new, table) for table in metadata.sorted_tables]
            for table in metadata.sorted_tables:
                _set_sequence(new, table)
            for one in copied:
                _verify(new, metadata.tables[one.table], one)
            return copied
    except exc.DatabaseError as problem:
        raise NotReadyError(
            "copy_failed",
            f"the database {target.url} did not accept the rows; none of them was kept",
            evidence=str(problem.orig).splitlines()[0],
            remedy="fix the reported problem, and copy again",
        ) from problem


def _refuse_running(old: Connection, now: float, lease_s: float) -> None:
    query = select(workers).where(workers.c.state.in_(("active", "draining")), workers.c.beat_at > now - lease_s)
    row = old.execute(query).first()
    if row is not None:
        raise NotReadyError(
            "daemon_running",
            f"worker {row.id} ({row.name}) uses this store",
            evidence=f"its last heartbeat was {max(0.0, now - row.beat_at):.1f} s ago",
            remedy=f"stop every daemon on it, wait {lease_s:g} s if one was killed, and try again",
        )


def _lock_and_refuse_filled(new: Connection, target: Store) -> None:
    for table in metadata.sorted_tables:
        new.execute(text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))
        if new.execute(select(1).select_from(table).limit(1)).first() is not None:
            raise UsageError(
                "target_not_empty",
                f"the store {target.url} has rows in {table.name}",
                remedy="name an empty database; two stores cannot be joined",
            )


def _copy_table(old: Connection, new: Connection, table: Table) -> Copied:
    rows, digest = 0, hashlib.sha256()
    for part in _parts(old, table):
        values = [[storable(value) for value in row] for row in part]
        for row in values:
            digest.update(_bytes(row))
        names = [column.name for column in table.columns]
        new.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in values])
        rows += len(part)
    return Copied(table.name, rows, digest.hexdigest())


def _verify(new: Connection, table: Table, copied: Copied) -> None:
    digest = hashlib.sha256()
    for part in _parts(new, table):
        for row in part:
            digest.update(_bytes(row))
    count = new.execute(select(func.count()).select_from(table)).scalar_one()
    if (count, digest.hexdigest()) != (copied.rows, copied.sha256):
        raise NotReadyError(
            "copy_differs",
            f"table {table.name} differs after the copy; nothing was kept",
            evidence=f"{copied.rows} rows were read, {count} were written",
            remedy="report this; the old store is as it was",
        )


def _parts(connection: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    return connection.execution_options(yield_per=_AT_ONCE).execute(
        select(table).order_by(*table.primary_key)
    ).partitions()  # fmt: skip


def _bytes(values: Sequence[Any]) -> bytes:
    return json.dumps(list(values), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _set_sequence(new: Connection, table: Table) -> None:
    """Make the next row's id larger than all copied ones."""
    column = table.autoincrement_column
    if column is None:
        return
    highest = new.execute(select(func.max(column))).scalar()
    sequence = func.pg_get_serial_sequence(table.name, column.name)
    new.execute(select(func.setval(sequence, highest or 1, highest is not None)))
