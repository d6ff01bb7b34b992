"""A home with a stand-in for xTB, jobs of a given length, and eyes on rows and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import support
from tests.lifecycle.lab import STAND_IN, Lab


@pytest.fixture
def home(tmp_path: Path) -> support.Home:
    return support.Home(tmp_path / "home", {"QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(tmp_path / "gate")})


@pytest.fixture
def lab(home: support.Home, daemon: Callable[..., support.Daemon]) -> Iterator[Lab]:
    opened = Lab(home, daemon)
    try:
        yield opened
    finally:
        opened.close()
