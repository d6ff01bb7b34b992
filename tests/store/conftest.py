from __future__ import annotations

from collections.abc import Iterator

import pytest

from qmrunner.store.session import Store
from tests.store.work import Work


@pytest.fixture
def work(store: Store) -> Work:
    return Work(store)


@pytest.fixture
def postgres_store(postgres_database: str) -> Iterator[tuple[Work, str]]:
    """Work on a PostgreSQL store, and its URL."""
    opened = Store(postgres_database)
    yield Work(opened), postgres_database
    opened.close()
