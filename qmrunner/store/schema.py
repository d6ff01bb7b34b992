"""The schema's version: created on first use, refused when it is older or newer than this program.

Alembic is imported only to change the schema: the import costs 0.3 s, and reading the version needs one SELECT.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, func, inspect, select, text

from qmrunner.errors import NotReadyError
from qmrunner.store.session import Store

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0009"
# Every revision this program knows, oldest first; a test holds it against the folder.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
_SCHEMA_LOCK = 0x716D72  # any number that others of the same database do not take


State = Literal["current", "empty", "outdated", "newer"]


def revision(store: Store) -> str | None:
    """The revision of the store, or None when it is empty."""
    with store.read() as connection:
        if not _has_version(connection):
            return None
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
        return None if row is None else str(row[0])


def _has_version(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite":
        return inspect(connection).has_table("alembic_version")
    # Every command asks; the inspector takes ten times as long.
    return connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first() is not None


def revision_of_file(path: Path) -> str | None:
    """The revision of a SQLite store, read without changing anything: a connection of `Store` would turn on WAL.

    Raises NotReadyError when it cannot be read or is no store.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as connection:
            known = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    except sqlite3.DatabaseError as problem:
        damaged = "malformed" in str(problem) or "not a database" in str(problem)
        raise NotReadyError(
            "store_corrupt" if damaged else "store_unavailable",
            f"the store {path} {'is damaged' if damaged else 'cannot be read'}",
            evidence=str(problem),
            remedy="keep a copy of the file, and restore a backup" if damaged else "make it readable for this user",
        ) from None
    return None if row is None else str(row[0])


def status(store: Store) -> State:
    return state_of(revision(store))


def state_of(found: str | None) -> State:
    """What this program makes of a store at that revision; None: it has none."""
    if found is None:
        return "empty"
    if found == HEAD:
        return "current"
    return "outdated" if found in REVISIONS else "newer"


def require_current(store: Store, *, create: bool) -> None:
    """Make an empty store usable (when `create`), refuse any other that is not current."""
    state = status(store)
    if state == "empty" and create:
        upgrade(store)
    elif state == "empty":
        raise NotReadyError("store_empty", f"the store {store.url} holds no schema", remedy="run `qmrunner db upgrade`")
    elif state == "outdated":
        raise NotReadyError(
            "store_outdated",
            f"the store is at revision {revision(store)}, this program needs {HEAD}",
            remedy="stop all daemons on this store, back it up, then run `qmrunner db upgrade`",
        )
    elif state == "newer":
        raise NotReadyError(
            "store_newer",
            f"the store is at revision {revision(store)}, which this program ({HEAD}) does not know",
            remedy="install the version of qmrunner that last used this store; nothing was changed",
        )


def upgrade(store: Store, target: str = "head") -> None:
    """Bring the schema to `target`. Safe to call from several processes at once."""
    from alembic import command

    with _one_at_a_time(store), store.write() as connection:
        _alone(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, target)


def downgrade(store: Store, target: str) -> None:
    from alembic import command

    with _one_at_a_time(store), store.write() as connection:
        _alone(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, target)


def migrations_folder() -> Path:
    """`migrations/` beside the package in a checkout, `qmrunner/_migrations` in an installed wheel."""
    packaged = Path(__file__).resolve().parent.parent / "_migrations"
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return config


def _alone(connection: Connection) -> None:
    """On a server: no other process changes the schema until this transaction ends, however long it takes."""
    if connection.dialect.name != "sqlite":
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {name} = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


@contextmanager
def _one_at_a_time(store: Store) -> Iterator[None]:
    if store.path is None:
        yield
        return
    try:
        descriptor = os.open(store.path.with_suffix(".schema-lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        raise NotReadyError(
            "store_unavailable",
            f"nothing can be written beside the store {store.path}",
            evidence=str(problem),
            remedy=f"make {store.path.parent} writable for this user, with space left",
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as problem:
            raise NotReadyError(
                "locks_missing",
                f"files cannot be locked in {store.path.parent}",
                evidence=str(problem),
                remedy="put QMRUNNER_HOME on a local disk, or use PostgreSQL",
            ) from None
        yield
    finally:
        os.close(descriptor)
