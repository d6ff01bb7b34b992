"""A browser for the whole session, a server for each module, and a person at it for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.api.lab import Server, served
from tests.support import Home
from tests.web.lab import Browser, Person, launched


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that only this module uses; its engines do nothing."""
    true = shutil.which("true")
    assert true is not None
    return Home(
        tmp_path_factory.mktemp("web") / "home",
        {"QMRUNNER_XTB": true, "QMRUNNER_NWCHEM": true, "QMRUNNER_API_RATE_PER_MINUTE": "100000"},
    )


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    """A server without tokens."""
    with served(place) as running:
        yield running


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Make a profile: `person(url, java_script_enabled=False)`. Each is checked at the end."""
    made: list[Person] = []

    def make(url: str, **more: object) -> Person:
        made.append(Person(browser, url, **more))
        return made[-1]

    yield make
    try:
        for one in made:
            one.check()
    finally:
        for one in made:
            one.close()
