"""A home on PostgreSQL and Redis, both real, of the test's own, and free to be restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres, redis, support
from tests.lifecycle.lab import STAND_IN, Lab


@pytest.fixture
def database() -> Iterator[postgres.Server]:
    if postgres.program("postgres") is None:
        support.missing("PostgreSQL is not installed; `make setup` installs it as root")
    with postgres.server() as made:
        yield made


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[redis.Server]:
    with redis.server(tmp_path / "redis", tls=True) as made:
        yield made


@pytest.fixture
def shared(tmp_path: Path, database: postgres.Server, cache: redis.Server) -> dict[str, str]:
    """Settings that workers of one fleet have in common; results go to one folder."""
    return {
        "QMRUNNER_STORE_URL": database.url,
        "QMRUNNER_QUEUE_URL": cache.url,
        "QMRUNNER_JOBS": str(tmp_path / "jobs"),
        "QMRUNNER_XTB": str(STAND_IN),
        "STAND_IN_GATE": str(tmp_path / "gate"),
    }


@pytest.fixture
def home(tmp_path: Path, shared: dict[str, str]) -> support.Home:
    return support.Home(tmp_path / "home", shared)


@pytest.fixture
def lab(home: support.Home, daemon: Callable[..., support.Daemon]) -> Iterator[Lab]:
    opened = Lab(home, daemon)
    try:
        yield opened
    finally:
        opened.close()
