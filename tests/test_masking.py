"""No password is in what is shown, however its URL is mistyped, and nothing else is taken for one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from qmrunner import masking
from qmrunner.errors import QmrunnerError
from tests.urls import MISTYPED, PASSWORD


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    masking.know(())
    yield
    masking.know(())


@pytest.mark.parametrize("url", MISTYPED)
def test_the_password_of_a_url_is_known_in_every_form_that_libraries_print(url: str) -> None:
    masking.know([url])
    for form in (PASSWORD, quote(PASSWORD, safe=""), repr(PASSWORD), json.dumps(PASSWORD), f"x@{PASSWORD}:1"):
        text = f"could not be cast: {form!s}; {url} {quote(url)} {url!r}"
        assert PASSWORD not in masking.mask(text)
    problem = QmrunnerError("x", f"got {url}", evidence=url, remedy=url)
    assert PASSWORD not in str(problem) + json.dumps(problem.as_dict())


@pytest.mark.parametrize("url", MISTYPED)
def test_a_password_however_short_is_not_in_the_masked_url(url: str) -> None:
    assert "q7" not in masking.masked_url(url.replace(PASSWORD, "q7"))


@pytest.mark.parametrize("url", [url for url in MISTYPED if ("//" in url and f":{PASSWORD}@" in url) or "word=" in url])
def test_a_text_that_has_a_url_in_it_needs_no_settings_to_be_masked(url: str) -> None:
    assert PASSWORD not in masking.mask(f"connection to {url!r} failed")
    masked = masking.mask_all({"told": [f"{url} failed"], "count": 3, "none": None})
    assert PASSWORD not in json.dumps(masked)
    assert (masked["count"], masked["none"]) == (3, None)


@pytest.mark.parametrize(
    "text",
    [
        "[CH3:1][C@@H:2](F)O",
        "C/C=C/[C@H](C)O",
        "F/C(=C\\F)[C@H](:C)c1:c:c:c:c:c1",
        "postgresql://user@host:5432/name",
        "redis://host:6379/0",
        "QMRUNNER_STORE_PASSWORD_FILE=/run/secrets/store",
        "s3://results/qm",
        "file:///srv/a@b/results",
        "attempt 3 of j1/xtb: 12:30@noon",
        "",
    ],
)
def test_what_holds_no_password_stays(text: str) -> None:
    masking.know(["postgresql://qmrunner:qmrunner@host/qmrunner"])
    assert masking.mask(text) == text


@pytest.mark.parametrize("text", ["//a:", ":/", "/", "password", "redis", "a", "'", "\\"])
def test_no_text_makes_masking_slow(text: str) -> None:
    began = time.process_time()
    masking.mask(text * (300_000 // len(text)) + "=@\":'")
    assert time.process_time() - began < 5


def test_secrets_that_are_known_also_are_added_and_others_forgotten() -> None:
    masking.know((), ["first-secret"])
    masking.know((), ["second-secret"], also=True)
    assert masking.mask("first-secret second-secret") == "*** ***"
    masking.know((), ["third-secret"])
    assert masking.mask("first-secret third-secret") == "first-secret ***"
