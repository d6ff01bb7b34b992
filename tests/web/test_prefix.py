"""A server below a path of its proxy, which passes the path on or removes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import expect

from qmrunner.setting_values import prefix
from tests.api.lab import Server, served
from tests.support import Home
from tests.web.lab import Person

PREFIX = "/lab/qm"


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    with served(place, QMRUNNER_API_PREFIX=f"{PREFIX}/") as running:
        yield running


@pytest.mark.parametrize("text", ["", "/", "qm", "//evil.example", "/a/../b", "/a b", '/a"b', "/a//b", "/?x"])
def test_only_a_plain_path_is_a_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="expected a path"):
        prefix(text)


@pytest.mark.parametrize("kept", [PREFIX, ""])
def test_every_address_of_a_page_is_below_the_prefix(server: Server, kept: str) -> None:
    job = server.submit()
    for path in ("/", "/jobs", "/jobs/new", "/jobs/new/many", f"/jobs/{job}", f"/jobs/{job}/why", "/system", "/docs"):
        answer = server.client.get(kept + path)
        assert answer.status_code == 200, path
        found = re.findall(r'\b(?:href|src|action|data-live)="([^"]*)"', answer.text)
        assert len(found) > 5
        inside = ("#", "?", f"{PREFIX}/", "openapi.json")
        assert [one for one in found if not one.startswith(inside)] == []
    moved = server.client.post(
        f"{kept}/jobs/{job}/do",
        data={"verb": "hold", "back": f"/jobs/{job}"},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert (moved.status_code, moved.headers["location"]) == (303, f"{PREFIX}/jobs/{job}")
    assert server.client.get(f"{kept}/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert server.client.get(f"{PREFIX}x/jobs").status_code == 404


def test_a_cookie_is_of_one_prefix(place: Home, server: Server) -> None:
    secret = place.json("token", "add", "boss", "--scope", "admin")["secret"]
    try:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60.0) as client:
            wanted = client.get(f"{PREFIX}/jobs")
            assert wanted.headers["location"] == f"{PREFIX}/login?next=/jobs"
            sent = {"secret": secret, "next": "/jobs"}
            answer = client.post(f"{PREFIX}/login", data=sent, headers={"Sec-Fetch-Site": "same-origin"})
            assert answer.headers["location"] == f"{PREFIX}/jobs"
            port = server.url.rsplit(":", 1)[1]
            assert next(iter(client.cookies.jar)).name == f"qmrunner_{port}_lab_qm"
            assert client.get(f"{PREFIX}/jobs").status_code == 200
    finally:
        assert place.run("token", "revoke", "boss").returncode == 0


@pytest.mark.browser
def test_a_page_below_a_prefix_is_live_and_acts(server: Server, person: Callable[..., Person]) -> None:
    job = server.submit()
    page = person(server.url).page
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.goto(f"{PREFIX}/jobs/{job}")
    expect(page.locator("#live-status")).to_have_text("live")
    page.get_by_role("button", name="Hold").click()
    expect(page.locator("#live_head .state").first).to_contain_text("held")
    server.client.post(f"/v1/jobs/{job}/release")
    expect(page.locator("#live_head .state").first).to_contain_text("waiting")
    page.get_by_role("link", name="New job").click()
    page.locator("#structure").fill("CCO")
    expect(page.locator("#verdict dl")).to_contain_text("C2H6O")
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("h1")).to_have_text("Help and keys")
    assert page.url.endswith(f"{PREFIX}/help")
    assert failed == []
