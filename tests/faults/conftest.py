"""One network, PostgreSQL and Redis for all tests of a file; a database and machines for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.faults.machines import Site
from tests.faults.network import Network
from tests.faults.servers import Postgres, Redis

MACHINES = 2
_numbers = count(1)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network(MACHINES) as made:
        yield made


@pytest.fixture
def postgres(network: Network) -> Iterator[Postgres]:
    server = Postgres(network).initialise().start()
    yield server
    server.close()


@pytest.fixture
def redis(network: Network) -> Iterator[Redis]:
    server = Redis(network).start()
    yield server
    server.close()


@pytest.fixture
def sites(network: Network, postgres: Postgres, redis: Redis, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a started site: `sites(shift_s=3600)`."""
    made: list[Site] = []

    def make(shift_s: float = 0.0) -> Site:
        database = f"site{next(_numbers)}"
        postgres.execute(f"CREATE DATABASE {database}")
        site = Site(network, tmp_path, database)
        made.append(site)
        return site.start(MACHINES, shift_s)

    yield make
    for number in range(1, MACHINES + 1):
        network.heal(number)
    for site in made:
        site.close()
