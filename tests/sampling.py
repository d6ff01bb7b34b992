"""Families of tests that cost much: a run takes a share, the next commit another one; TESTS_ALL=1 takes all.

One machine cannot try thousands of engine runs, daemons and commands for every change in minutes. The share moves on
with every commit, so that each member is tried within as many commits as the family has shares, and a failure is found
again at its commit.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ALL = os.environ.get("TESTS_ALL") == "1"


def share(members: Iterable[T], shares: int, begin: int = 0) -> list[T]:
    """Every `shares`-th member, from one on that changes with the commit; all of them under TESTS_ALL=1.

    Families that meet each other, as options and values do, differ in where they `begin`: then one run has all pairs'
    members, and `shares` commits have all pairs.
    """
    every = list(members)
    return every if ALL else every[(begin + turn()) % shares :: shares]


def examples(full: int, shares: int) -> int:
    """How many random examples a property is tried with: every run draws other ones."""
    return full if ALL else -(-full // shares)


@functools.cache
def turn() -> int:
    """The number of commits so far, 0 outside a checkout."""
    done = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 else 0
