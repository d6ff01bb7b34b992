"""Real runs on pages: a drawn molecule to its shifts, an ensemble, a stopped rank, a store that is away, a remedy."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import postgres
from tests.api.lab import XTB, Server, served
from tests.real.test_hangs import DECK as METHANOL
from tests.real.test_hangs import ranks, running
from tests.real.test_remedies import hot_xtb
from tests.support import Daemon, Home, missing, wait_for
from tests.web.lab import AXE, Person, findings
from tests.web.test_recovery import BAD, LONG

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.ranks, pytest.mark.timeout(600)]
Make = Callable[..., Person]
Start = Callable[..., Daemon]
# Places in the editor: the tools for a single bond and for oxygen, and three corners of a chain.
BOND, OXYGEN = (14, 118), (14, 287)
CHAIN = ((240, 200), (261, 188), (282, 200))


def deck(server: Server, name: str, text: str) -> str:
    return server.submit({"kind": "nwchem", "name": name, "files": [{"name": "x.nw", "text": text}]})


def press(page: Page, *places: tuple[int, int]) -> None:
    """Press the mouse at the first place of the editor, move over the others, and release it."""
    box = page.locator("#editor").bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def headline(page: Page, word: str, seconds: float) -> None:
    expect(page.locator("#live_head .state").first).to_contain_text(word, timeout=1000 * seconds)


def test_ethanol_is_drawn_watched_and_read_without_a_reload(home: Home, daemon: Start, person: Make) -> None:
    daemon()
    with served(home) as server:
        page = person(server.url).page
        page.goto("/jobs/new")
        page.get_by_role("button", name="Draw").click()
        expect(page.locator("#editor canvas, #editor *").first).to_be_attached()
        press(page, BOND)
        press(page, CHAIN[0], CHAIN[1])
        press(page, CHAIN[1], CHAIN[2])
        press(page, OXYGEN)
        press(page, CHAIN[2])
        expect(page.locator("#structure")).to_have_value(re.compile(r"^(CCO|OCC|C\(C\)O|C\(O\)C)$"))
        expect(page.locator("#verdict dl")).to_contain_text("C2H6O")
        expect(page.locator("#send")).to_contain_text("core-hours")
        page.locator("#send").click()
        expect(page.locator("#live_head")).to_be_visible()
        job = page.url.rsplit("/", 1)[1]
        page.evaluate("window.mine = 1")
        expect(page.locator("#live_step")).to_contain_text("hartree", timeout=240_000)
        rows = page.locator("#curves figure").first.locator("tr")
        count = wait_for(lambda: rows.count() if rows.count() > 2 else 0, 120.0, "a curve of the energy")
        wait_for(lambda: rows.count() > count, 120.0, "more points of the curve")
        # The library of the curves is loaded with the first curve, its style, too.
        expect(page.locator("#curves .u-wrap canvas").first).to_be_attached()
        assert page.evaluate("getComputedStyle(document.querySelector('#curves .u-wrap')).position") == "relative"
        headline(page, "succeeded", 300)
        assert page.evaluate("window.mine") == 1
        page.get_by_role("link", name="Result").first.click()
        expect(page.locator("table.shifts").first).to_be_visible()
        shown = shifts(page)
        result = json.loads((home.settings.jobs_root / job / "result.json").read_text())
        kept = {row["atom"]: (row["shift_ppm"], row["nucleus"]) for row in result["shifts"]}
        assert set(shown) == set(kept)
        for atom, (shift, nucleus) in kept.items():
            assert shown[atom] == pytest.approx(shift, abs=0.0051 if nucleus == "1H" else 0.051)


def shifts(page: Page) -> dict[int, float]:
    """The shifts of all tables by atom."""
    found: dict[int, float] = {}
    for row in page.locator("table.shifts tr[data-atoms]").all():
        shift = float(row.locator("td.num").first.inner_text().replace("−", "-"))
        found |= {int(atom): shift for atom in (row.get_attribute("data-atoms") or "").split()}
    return found


def test_an_ensemble_has_its_grid_and_weights_that_add_to_one(home: Home, daemon: Start, person: Make) -> None:
    daemon()
    with served(home) as server:
        page = person(server.url).page
        page.goto("/jobs/new?kind=conformers")
        page.locator("#structure").fill("CCCCCC")
        page.locator("#conformers").select_option("rdkit")
        expect(page.locator("#verdict dl")).to_contain_text("C6H14")
        page.locator("#send").click()
        headline(page, "succeeded", 240)
        job = page.url.rsplit("/", 1)[1]
        steps = home.job(job)["steps"]
        assert page.locator("[data-grid] .cell").count() == len(steps) > 10
        assert page.locator("[data-grid] tr").count() == len({step["stage"] for step in steps})
        first = page.locator("[data-grid] .cell").first
        first.focus()
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.dataset.step") != first.get_attribute("data-step")
        page.goto(f"/jobs/{job}/result")
        weights = [float(text) for text in page.locator("td[data-weight]").all_inner_texts() if text != "–"]
        assert len(weights) > 3
        assert sum(weights) == pytest.approx(1.0, abs=0.0006 * len(weights))
        assert weights == sorted(weights, reverse=True)


def test_a_stopped_rank_is_seen_before_it_is_ended_and_after(home: Home, daemon: Start, person: Make) -> None:
    home.extra |= {"QMRUNNER_HANG_FLOOR_SECONDS": "12"}
    daemon()
    with served(home) as server:
        job = deck(server, "stopped", METHANOL)
        page = person(server.url).page
        page.goto(f"/jobs/{job}")
        page.evaluate("window.mine = 1")
        step = wait_for(lambda: running(home, job), 180.0, "two ranks at work")
        assert step is not None
        os.kill(ranks(step["engine_pid"])[1].pid, signal.SIGSTOP)
        expect(page.locator("#live_step")).to_contain_text("nothing moves", timeout=90_000)
        expect(page.locator("#live_step")).to_contain_text("hung", timeout=180_000)
        headline(page, "succeeded", 240)
        assert page.locator("#live_step table tbody tr").count() == 2
        assert page.evaluate("window.mine") == 1
        page.goto(f"/jobs/{job}/why")
        expect(page.locator("#live_attempts")).to_contain_text("hung")


def test_a_store_that_is_away_is_admitted_with_what_the_daemon_last_wrote(
    home: Home, daemon: Start, person: Make
) -> None:
    if postgres.program("postgres") is None:
        missing("PostgreSQL is not installed")
    with postgres.server() as store:
        home.extra |= {"QMRUNNER_STORE_URL": store.url, "QMRUNNER_OUTAGE_GRACE_SECONDS": "120"}
        daemon()
        with served(home) as server:
            job = deck(server, "through an outage", LONG)
            page = person(server.url).page
            page.goto("/")
            page.evaluate("window.mine = 1")
            expect(page.locator("#live_running")).to_contain_text("through an outage", timeout=60_000)
            wait_for(lambda: home.job(job)["steps"][0]["engine_pid"], 60.0, "the engine")
            state = home.settings.run_root / "state.json"
            wait_for(lambda: job in state.read_text(), 30.0, "the state file with the job")
            store.stop()
            expect(page.locator("#live_away")).to_contain_text("store_unavailable", timeout=40_000)
            expect(page.locator("#live_away")).to_contain_text("state file of")
            expect(page.locator("#live_away")).to_contain_text(job)
            other = person(server.url).page
            answer = other.goto(f"/jobs/{job}")
            assert answer is not None
            assert answer.status == 503
            store.start()
            expect(page.locator("#live_running")).to_contain_text("through an outage", timeout=60_000)
            expect(page.locator("#live_away")).to_be_empty()
            assert page.evaluate("window.mine") == 1
            server.client.post(f"/v1/jobs/{job}/cancel")
            wait_for(lambda: home.job(job)["state"] == "cancelled", 60.0, "the end of the job")


def test_a_remedy_that_may_alter_the_result_is_allowed_by_a_button(home: Home, daemon: Start, person: Make) -> None:
    hot_xtb(home)
    daemon()
    with served(home) as server:
        job = server.submit(XTB)
        page = person(server.url).page
        page.goto(f"/jobs/{job}/why")
        headline(page, "failed", 120)
        expect(page.locator("#live_head .command")).to_have_text(f"qmrunner retry {job} --allow-altering")
        button = page.get_by_role("button", name="Retry, allow altering")
        assert button.get_attribute("title") == f"qmrunner retry {job} --allow-altering"
        button.click()
        headline(page, "succeeded", 120)
        expect(page.locator("#live_attempts")).to_contain_text("changed: scc-temperature")
        page.goto(f"/jobs/{job}/result")
        expect(page.locator(".note", has_text="can alter the answer")).to_contain_text("electronic temperature")


def test_axe_finds_nothing_on_empty_running_failed_and_finished_pages(home: Home, daemon: Start, person: Make) -> None:
    if not AXE.exists():
        pytest.fail("axe is missing: run deploy/assets.py")
    people: list[tuple[Person, int]] = []
    with served(home) as server:
        for scheme in ("light", "dark"):
            for width in (1280, 360):
                people.append(
                    (person(server.url, color_scheme=scheme, viewport={"width": width, "height": 900}), width)
                )
        found = looked_at(people, ["/", "/jobs", "/jobs/new", "/workers", "/activity", "/system"])
        daemon()
        jobs = {"done": server.submit(XTB), "failed": deck(server, "no basis", BAD)}
        for state, job in (("succeeded", jobs["done"]), ("failed", jobs["failed"])):
            wait_for(lambda job=job, state=state: home.job(job)["state"] == state, 120.0, state)  # type: ignore[misc]
        jobs["running"] = deck(server, "long", LONG)
        wait_for(lambda: home.job(jobs["running"])["steps"][0]["engine_pid"], 60.0, "the engine")
        paths = ["/", "/workers", "/workers/1", "/activity", f"/jobs/{jobs['done']}/result"]
        for job in jobs.values():
            paths += [f"/jobs/{job}", f"/jobs/{job}/why"]
        found += looked_at(people, paths)
        server.client.post(f"/v1/jobs/{jobs['running']}/cancel")
    assert found == []


def looked_at(people: list[tuple[Person, int]], paths: list[str]) -> list[Any]:
    """What axe finds on these pages, and the pages that are wider than their window."""
    found: list[Any] = []
    for one, width in people:
        for path in paths:
            one.page.goto(path)
            found += findings(one.page)
            wider = one.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wider > 0:
                found.append(f"{path} is {wider} pixels too wide at {width}")
    return found
