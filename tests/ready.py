"""Stores at the newest schema, to be copied: the migrations load Alembic, a third of what a daemon's start takes."""

from __future__ import annotations

import functools
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from qmrunner.store import schema
from qmrunner.store.session import Store

_folder = tempfile.TemporaryDirectory(prefix="qmnewest-")


@functools.cache
def sqlite() -> Path:
    """The file of an empty store; no copy of it is of any worker or home yet."""
    path = Path(_folder.name, "store.db")
    _upgrade(f"sqlite:///{path}")
    return path


def home(path: Path) -> None:
    """Make a home with an empty store where there is no folder yet."""
    if not path.exists():
        path.mkdir(0o700, parents=True)
        shutil.copyfile(sqlite(), path / "store.db")
        (path / "store.db").chmod(0o600)


@contextmanager
def database(server: str, *, newest: bool) -> Iterator[str]:
    """The URL of a database on the PostgreSQL server, for the block: empty, or a store at the newest schema."""
    name = f"qmrunner_test_{uuid.uuid4().hex[:12]}"
    template = f" TEMPLATE {_template(server)}" if newest else ""
    _execute(server, f"CREATE DATABASE {name}{template}")
    try:
        yield _of(server, name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@functools.cache
def _template(server: str) -> str:
    """Of this process alone: PostgreSQL copies no database to which another is connected."""
    name = f"qmrunner_newest_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name}")
    _upgrade(_of(server, name))
    return name


def _upgrade(url: str) -> None:
    opened = Store(url)
    schema.upgrade(opened)
    opened.close()


def _of(server: str, name: str) -> str:
    url = make_url(server).set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    return url.replace("+", "%20")  # libpq takes `+` literally


def _execute(server: str, statement: str) -> None:
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
