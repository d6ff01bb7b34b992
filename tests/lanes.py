"""Tests side by side: which go together, in which order, and which have the machine to themselves.

Most tests wait for a process, a beat or a deadline, so pytest-xdist runs more of them at a time than there are cores.
Tests of one file that share something dear stay together; all others go to whichever worker is free, one by one. What
takes longest begins first. Tests of NWChem on several ranks (marked `ranks`) come last, each with the machine to
itself: ranks spin while they wait for each other, and another process on their cores makes minutes of seconds. Runs of
one rank wait for none.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files whose tests share what takes a second or more to make.
TOGETHER = (
    "tests/api/",
    "tests/apps/test_storages.py",
    "tests/client/test_results.py",
    "tests/deploy/test_packages.py",
    "tests/engines/test_nwchem_real.py",
    "tests/workflows/test_ensemble.py",
)


class OneByOne(LoadScopeScheduling):
    """In the order of collection: file by file what shares something, test by test what does not."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith(TOGETHER) else nodeid


def in_order(items: list[pytest.Item]) -> None:
    """What may take longest first, what wants the machine to itself last."""
    items.sort(key=lambda item: (is_alone(item), -_limit_s(item)))


def is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("ranks") is not None or item.get_closest_marker("alone") is not None


def _limit_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


@contextmanager
def quiet(path: str, alone: bool) -> Iterator[None]:
    """Beside any number of others, or alone. The lock is one of this process: what a test forks does not hold it."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
