from __future__ import annotations

import pytest

from qmrunner.store.session import Store
from tests.store.work import Work


@pytest.fixture
def work(store: Store) -> Work:
    return Work(store)
