"""Sessions in a browser: signing in, a revoked token, and what is left of a page whose session has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from qmrunner.app import App
from qmrunner.store.tables import sessions
from tests.api.lab import Server, served
from tests.support import Home, wait_for
from tests.web.lab import Person

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
Make = Callable[..., Person]


@pytest.fixture
def guarded(home: Home) -> Iterator[Server]:
    home.extra["QMRUNNER_API_RATE_PER_MINUTE"] = "100000"
    with served(home) as server:
        yield server


def test_a_person_signs_in_and_a_revoked_token_signs_out_in_seconds(guarded: Server, person: Make) -> None:
    job = guarded.submit()
    secrets = {
        name: guarded.home.json("token", "add", name, "--scope", scope)["secret"]
        for name, scope in (("reader", "read"), ("boss", "admin"))
    }
    reader, boss = person(guarded.url), person(guarded.url)
    for one, name in ((reader, "reader"), (boss, "boss")):
        one.page.goto(f"/jobs/{job}")
        one.page.locator("#secret").fill(secrets[name])
        one.page.get_by_role("button", name="Sign in").click()
        expect(one.page.locator("#live_head")).to_be_visible()
        assert one.page.url.endswith(f"/jobs/{job}")
    assert reader.page.get_by_role("button", name="Cancel").count() == 0
    boss.page.get_by_role("button", name="Cancel").click()
    for one in (boss, reader):
        expect(one.page.locator("#live_head .state").first).to_contain_text("cancelled")
    guarded.home.run("token", "revoke", "reader")
    expect(reader.page.locator("#secret")).to_be_visible(timeout=8000)
    port = guarded.url.rsplit(":", 1)[1]
    address = guarded.home.run("web", "--token", "boss", QMRUNNER_API_PORT=port).stdout.strip()
    again = person(guarded.url.replace("127.0.0.1", "localhost"))
    again.page.goto(address)
    expect(again.page.locator("h1")).to_have_text("Overview")
    assert "code" not in again.page.url


def test_what_was_typed_survives_a_sign_out_in_another_tab(guarded: Server, person: Make) -> None:
    secret = guarded.home.json("token", "add", "boss", "--scope", "write")["secret"]
    one = person(guarded.url)
    page, other = one.page, one.open()

    def sign_in(where: Page) -> None:
        where.goto("/login")
        where.locator("#secret").fill(secret)
        where.get_by_role("button", name="Sign in").click()
        expect(where.locator("#live_person")).to_be_visible()

    sign_in(page)
    page.goto("/jobs/new?kind=conformers")
    page.locator("#structure").fill("CCO")
    expect(page.locator("#verdict dl")).to_contain_text("C2H6O")
    other.goto("/help")
    other.locator("details.who summary").click()
    other.get_by_role("button", name="Sign out").click()
    expect(other.locator("#secret")).to_be_visible()
    page.locator("#structure").fill("CCCO")  # the verdict of CCO must not stay beside it
    expect(page.locator("#verdict")).to_contain_text("You are signed out")
    expect(page.locator("#verdict dl")).to_have_count(0)
    page.locator("#send").click()
    expect(page.locator("#problem")).to_be_focused()
    sign_in(other)
    page.locator("#send").click()
    expect(page.locator("#live_head")).to_contain_text("boss")
    page.goto("/jobs/new/many")
    page.locator("#structures").fill("CCO\nCCN\n")
    other.context.clear_cookies()
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#problem")).to_contain_text("You are signed out")
    assert page.locator("#structures").input_value() == "CCO\nCCN\n"


def test_a_live_page_with_typed_text_outlives_its_session_and_is_live_again_after_the_next_sign_in(
    guarded: Server, person: Make
) -> None:
    secret = guarded.home.json("token", "add", "boss", "--scope", "write")["secret"]
    job = guarded.home.json("submit", "nmr", "CCO")["id"]
    one = person(guarded.url)
    page, bare = one.page, one.open()

    def sign_in(where: Page, to: str) -> None:
        where.goto(to)
        where.locator("#secret").fill(secret)
        where.get_by_role("button", name="Sign in").click()
        expect(where.locator("#live-status")).to_have_text("live")

    def expire() -> None:
        with closing(App(guarded.home.settings)) as app, app.store.write() as connection:
            connection.execute(update(sessions).values(seen_at=sessions.c.seen_at - 13 * 3600))

    sign_in(page, f"/jobs/{job}")
    bare.goto("/jobs")
    page.locator("input[name=value]").fill("77")
    page.evaluate("window.mine = 1")
    expire()
    expect(bare.locator("#secret")).to_be_visible()  # nothing was typed there
    assert bare.url.endswith("/login?next=/jobs")
    expect(page.locator("#blind")).to_contain_text("You are signed out")
    expect(page.locator("#live-status")).to_have_text("not live: signed out")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("#problem")).to_contain_text("Nothing was sent")
    with page.expect_popup() as opened:
        page.locator("#blind a").click()
    sign_in(opened.value, opened.value.url)
    page.evaluate("dispatchEvent(new Event('focus'))")  # no window has it under test
    expect(page.locator("#blind")).to_be_hidden()
    expect(page.locator("#live-status")).to_have_text("live")
    assert page.locator("input[name=value]").input_value() == "77"
    page.get_by_role("button", name="Set").click()
    wait_for(lambda: guarded.home.job(job)["priority"] == 77, 10.0, "the new priority")
    assert page.evaluate("window.mine") == 1
    bare.goto("/jobs")
    bare.get_by_label("select all rows shown").check()
    expire()
    expect(bare.locator("#blind")).to_contain_text("You are signed out")
    bare.get_by_role("button", name="Hold").click()
    expect(bare.locator("#problem")).to_be_focused()
    assert bare.locator("tbody .pick input").is_checked()
