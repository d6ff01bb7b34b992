"""Servers for tests: one for each module, on a home whose xTB is a program that does nothing; no daemon runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.api.lab import Server, served
from tests.support import Home


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that only this module uses."""
    true = shutil.which("true")
    assert true is not None
    return Home(
        tmp_path_factory.mktemp("api") / "home",
        {"QMRUNNER_XTB": true, "QMRUNNER_NWCHEM": true, "QMRUNNER_API_RATE_PER_MINUTE": "100000"},
    )


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    """A server without tokens."""
    with served(place) as running:
        yield running
