"""Fixtures of all tests. Settings of whoever runs the tests must not reach them, so those are removed first."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qmrunner.store import schema
from qmrunner.store.session import Store
from tests import postgres, support

# A PostgreSQL server to use instead of one of the tests' own, e.g. postgresql://postgres@localhost/postgres.
POSTGRES = os.environ.get("QMRUNNER_TEST_POSTGRES")
for _name in [name for name in os.environ if name.startswith("QMRUNNER_")]:
    del os.environ[_name]
# The width of help and messages is not to depend on the terminal of whoever runs the tests.
os.environ["COLUMNS"] = "200"
os.environ["NO_COLOR"] = "1"
os.environ.pop("FORCE_COLOR", None)


@pytest.fixture
def home(tmp_path: Path) -> support.Home:
    """A home that does not exist yet, with short times: `home.settings`, `home.run(...)`, `home.json(...)`."""
    return support.Home(tmp_path / "home")


@pytest.fixture
def daemon(home: support.Home) -> Iterator[Callable[..., support.Daemon]]:
    """Start `qmrunner run` on the home: `daemon()` returns when it is healthy. No process of it outlives the test."""
    with support.ended_daemons(home) as start:
        yield start


@pytest.fixture
def wait_for() -> Callable[..., object]:
    return support.wait_for


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be made."""
    if POSTGRES:
        yield POSTGRES
        return
    if postgres.program("postgres") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed; `make setup` installs it as root")
        pytest.skip("PostgreSQL is not installed")
    with postgres.server() as made:
        yield made.url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    name = f"qmrunner_test_{uuid.uuid4().hex[:12]}"
    url = make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@pytest.fixture(scope="session")
def _newest_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store at the newest schema, to be copied: migrating takes a quarter of a second."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    opened = Store(f"sqlite:///{path}")
    schema.upgrade(opened)
    opened.close()
    return path


@pytest.fixture
def store(store_url: str, _newest_sqlite: Path) -> Iterator[Store]:
    """A fresh store at the newest schema."""
    opened = Store(store_url)
    if opened.path:
        shutil.copyfile(_newest_sqlite, opened.path)
    else:
        schema.upgrade(opened)
    yield opened
    opened.close()
