"""Fixtures of all tests, and how they run side by side."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from qmrunner.app import App
from qmrunner.attempt.environment import why_dropped
from qmrunner.store.session import Store
from tests import lanes, postgres, ready, sampling, support, surroundings
from tests.patience import stretched

surroundings.take_over()

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("qmrunner", deadline=None)
hypothesis.settings.load_profile("qmrunner")

_lock = pytest.StashKey[str]()
_LOCK = "lock"  # where the workers of one run find the one they share


def pytest_configure(config: pytest.Config) -> None:
    if config.option.numprocesses and not hasattr(config, "workerinput"):
        handle, lock = tempfile.mkstemp(prefix="qmtests-")
        os.close(handle)
        config.add_cleanup(lambda: os.unlink(lock))
        config.stash[_lock] = lock


def pytest_report_header() -> str:
    if sampling.ALL:
        return "families of engine tests: every member"
    return f"families of engine tests: share {sampling.turn()} (TESTS_ALL=1 takes every member)"


def pytest_configure_node(node: Any) -> None:
    """In the process that started them, for each worker."""
    node.workerinput[_LOCK] = node.config.stash[_lock]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> lanes.OneByOne:
    return lanes.OneByOne(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lanes.in_order(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside the time limit of the test
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    path = getattr(item.config, "workerinput", {}).get(_LOCK)
    marked = item.get_closest_marker("timeout")
    limit_s = float(marked.args[0] if marked else item.config.getini("timeout"))
    item.add_marker(pytest.mark.timeout(stretched(limit_s)), append=False)
    with _same_umask():
        if path is None:
            return (yield)
        with lanes.quiet(path, lanes.is_alone(item)):
            return (yield)


@contextmanager
def _same_umask() -> Iterator[None]:
    """The umask is as before after the block: what a test builds in this process makes all its files private."""
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)


@pytest.fixture(autouse=True)
def _closed_contexts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every context and store that the test opened: Python 3.13 reports a database that is collected open."""
    opened: list[App | Store] = []

    def recorded(kind: type[App] | type[Store]) -> None:
        begin = kind.__init__

        def record(self: Any, *args: Any, **more: Any) -> None:
            begin(self, *args, **more)
            opened.append(self)

        monkeypatch.setattr(kind, "__init__", record)

    recorded(App)
    recorded(Store)
    yield
    for one in opened:
        one.close()


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
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables that are kept from engines, however the tests were started."""
    for name in [name for name in os.environ if why_dropped(name)]:
        monkeypatch.delenv(name)


@pytest.fixture
def wait_for() -> Callable[..., object]:
    return support.wait_for


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be made."""
    if given := os.environ.get(surroundings.POSTGRES):
        yield given
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
def postgres_database(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[str]:
    """The URL of a database of the test's own: empty, or with the newest schema for a test that asks for a store."""
    newest = not {"store", "postgres_store", "machines"}.isdisjoint(request.fixturenames)
    with ready.database(postgres_server, newest=newest) as url:
        yield url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A fresh store at the newest schema."""
    opened = Store(store_url)
    if opened.path:
        shutil.copyfile(ready.sqlite(), opened.path)
    yield opened
    opened.close()
