"""Many schedules, one after the other in one process, or on all cores.

Not in `__main__`: the pool's fresh processes import this module by name, and a package's `__main__` they leave alone.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from qmrunner.store.session import Store
from qmrunner.store.tables import metadata
from tests.simulation.world import World

_PART = 100


@contextmanager
def blank() -> Iterator[Store]:
    """An empty store, in memory where there is a place for it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qmrunner-simulation-", dir=memory) as folder:
        store = Store(f"sqlite:///{Path(folder) / 'store.db'}")
        metadata.create_all(store.engine)
        try:
            yield store
        finally:
            store.close()


def one(connection: Connection, seed: int) -> str | None:
    """What is wrong with the schedule of this seed. Leaves no row behind."""
    attempt = connection.begin_nested()
    try:
        World(connection, seed).run()
    except AssertionError as problem:
        return str(problem)
    finally:
        attempt.rollback()
    return None


def many(seeds: range) -> list[str]:
    with blank() as store, store.write() as connection:
        return [problem for seed in seeds if (problem := one(connection, seed)) is not None]


def run(first: int, schedules: int) -> list[str]:
    """What is wrong with the schedules of these seeds, on all cores."""
    end = first + schedules
    parts = [range(at, min(at + _PART, end)) for at in range(first, end, _PART)]
    # Fresh processes: a fork would inherit the threads and connections of the caller.
    with multiprocessing.get_context("spawn").Pool() as pool:
        return [problem for found in pool.imap_unordered(many, parts) for problem in found]
