"""Pages under the settings of their readers: forced colours, less motion, zoom, the keyboard alone; with names in any
script, a drawn molecule, a daemon that restarts, and a server that answers 429."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from qmrunner.model import visible
from tests.api.lab import Server, served
from tests.client.lab import STAND_IN, WATER
from tests.support import Daemon, Home
from tests.web.lab import Person

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
Make = Callable[..., Person]
Point = tuple[float, float]
RULER = """selector => { const style = getComputedStyle(document.querySelector(selector));
  return [style.backgroundColor, style.color, style.outlineStyle, style.outlineColor]; }"""
# The colour of a drawing: those of text and lines are forced whatever the style sheet has.
INK = """name => { const probe = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  probe.style.fill = name.startsWith("--") ? `var(${name})` : name; document.querySelector("svg, body").append(probe);
  const found = getComputedStyle(probe).fill; probe.remove(); return found; }"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Where each character of an element is drawn, from its left.
PLACES = """element => [...element.firstChild.data].map((_, at) => { const range = document.createRange();
  range.setStart(element.firstChild, at); range.setEnd(element.firstChild, at + 1);
  return range.getBoundingClientRect().x; })"""
NAMES = {
    "turned": "\u202eevil", "arabic": "\u0625\u064a\u062b\u0627\u0646\u0648\u0644 (96 %)",
    "hebrew": "\u05d0\u05ea\u05e0\u05d5\u05dc: 2", "long": "x" * 200, "words": "a very long name " * 11,
}  # fmt: skip


def xtb(name: str, **more: object) -> dict[str, object]:
    return {"kind": "xtb", "name": name, "files": [{"name": "water.xyz", "text": WATER.format("water")}], **more}


@pytest.fixture(scope="module")
def named(server: Server) -> dict[str, str]:
    return {key: server.submit(xtb(name, group=name[:60])) for key, name in NAMES.items()}


def test_forced_colours_win_over_a_theme_and_every_mark_is_seen(
    server: Server, named: dict[str, str], person: Make
) -> None:
    one = person(server.url, forced_colors="active", color_scheme="dark")
    page = one.page
    page.goto("/jobs?q=state:queued")
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("theme: light")  # kept for the pages that follow
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    for token, forced in (("--fg", "CanvasText"), ("--bg", "Canvas"), ("--link", "LinkText")):
        assert page.evaluate(INK, token) == page.evaluate(INK, forced), token
    assert page.evaluate(INK, "--fg") != page.evaluate(INK, "--bg")
    # The pictures of states are not forced: their colours are those for the ground that is forced.
    assert page.evaluate(INK, "--succeeded") == "rgb(118, 211, 148)"
    highlight = page.evaluate(INK, "Highlight")
    for chosen in (".top nav a[aria-current]", ".tabs a[aria-current]"):
        assert page.evaluate(RULER, chosen)[0] == highlight, chosen
    page.locator("h1").click()
    page.keyboard.press("j")
    assert page.evaluate(RULER, "tr.at")[2:] == ["solid", highlight]
    page.goto(f"/jobs/{named['long']}")
    page.evaluate("""document.getElementById("main").insertAdjacentHTML("beforeend",
      '<div class="log"><ol><li class="hit">evidence</li></ol></div>')""")
    assert page.evaluate(RULER, "li.hit")[2:] == ["solid", highlight]


@pytest.mark.parametrize(("motion", "seconds"), [("reduce", "0s"), ("no-preference", "5s")])
def test_nothing_moves_where_less_motion_is_asked_for(server: Server, person: Make, motion: str, seconds: str) -> None:
    """The rule ends any transition, also one that a script or a library brings; without the wish it would run."""
    page = person(server.url, reduced_motion=motion).page
    page.goto("/")
    page.evaluate("""const moved = document.createElement("p"); moved.id = "moved";
      moved.style.transition = "opacity 5s"; document.getElementById("main").append(moved)""")
    assert page.evaluate("getComputedStyle(document.getElementById('moved')).transitionDuration") == seconds
    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize(("width", "factor"), [(640, 2), (320, 4)], ids=["200 %", "400 %"])
def test_a_zoomed_page_scrolls_one_way_only(
    server: Server, named: dict[str, str], person: Make, width: int, factor: int
) -> None:
    page = person(server.url, viewport={"width": width, "height": 860 // factor}, device_scale_factor=factor).page
    paths = ["/", "/jobs", "/jobs?q=state:queued", "/jobs/new", "/jobs/new/many", "/workers", "/activity", "/system",
        "/help", "/docs", *(f"/jobs/{job}" for job in named.values()), f"/jobs/{named['long']}/why",
        f"/jobs/{named['words']}/files", f"/jobs/new?from={named['long']}"]  # fmt: skip
    wide = {}
    for path in paths:
        page.goto(path)
        if (more := page.evaluate(WIDER)) > 0:
            wide[path] = more
    assert wide == {}


@pytest.mark.parametrize("width", [1280, 360])
def test_a_name_in_any_script_turns_nothing_beside_it(
    server: Server, named: dict[str, str], person: Make, width: int
) -> None:
    page = person(server.url, viewport={"width": width, "height": 800}).page
    page.goto("/jobs")
    for key, job in named.items():
        row = page.locator(f"#row-{job} td.main")
        places = row.locator("code").evaluate(PLACES)
        assert places == sorted(places), key  # the id reads from left to right
        assert row.locator("a").first.inner_text().strip() == visible.line(NAMES[key]).strip()
    page.goto(f"/jobs/{named['turned']}")
    places = page.locator("#live_head p code").first.evaluate(PLACES)
    assert places == sorted(places)


def tab_to(page: Page, selector: str, most: int = 80) -> None:
    """Press Tab until the focus is there; wherever it is on its way, one sees it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        at = page.evaluate("""() => { const at = document.activeElement, style = getComputedStyle(at);
          const box = at.getBoundingClientRect(), inside = box.bottom > 0 && box.top < innerHeight;
          return [at.tagName, style.outlineStyle, inside, at.outerHTML.slice(0, 120)]; }""")
        assert at[0] == "BODY" or (at[1] != "none" and at[2]), at
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"the keyboard does not reach {selector}")


@pytest.mark.engine
def test_from_submission_to_result_by_keyboard_alone(home: Home, daemon: Callable[..., Daemon], person: Make) -> None:
    daemon(ready=False).wait_ready(90.0)
    with served(home) as server:
        page = person(server.url).page
        page.goto("/")
        tab_to(page, "a[href='/jobs/new']")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("New job")
        tab_to(page, ".tabs a[href='/jobs/new?kind=conformers']")
        page.keyboard.press("Enter")
        expect(page.locator("#new[data-kind=conformers]")).to_be_visible()
        tab_to(page, "#structure")
        page.keyboard.type("CCO")
        tab_to(page, "#conformers")
        page.keyboard.type("RDKit")
        expect(page.locator("#conformers")).to_have_value("rdkit")
        tab_to(page, "#name")
        page.keyboard.type("by keyboard")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("by keyboard")
        expect(page.locator("#live_head .state").first).to_contain_text("succeeded", timeout=180_000)
        tab_to(page, "#live_head a[href$='/result']")
        page.keyboard.press("Enter")
        expect(page.locator("td[data-weight]").first).to_be_visible()


# Places in the editor, on its grid of bonds: the tools for a single bond and for oxygen, and the atoms of ibuprofen.
BOND, OXYGEN = (14, 118), (14, 287)
RING: list[Point] = [(300, 176), (321, 188), (321, 212), (300, 224), (279, 212), (279, 188)]
CHAIN: list[Point] = [(300, 152), (321, 140), (342, 152)]
METHYL: Point = (321, 116)
ACID: list[Point] = [(300, 248), (321, 260), (321, 284)]
OTHER_METHYL: Point = (279, 260)
HYDROXYL: Point = (342, 248)
SINGLE: list[tuple[Point, Point]] = [
    *zip(RING, [*RING[1:], RING[0]], strict=True),
    *zip([RING[0], *CHAIN], CHAIN, strict=False), (CHAIN[1], METHYL),
    *zip([RING[3], *ACID], ACID, strict=False), (ACID[0], OTHER_METHYL), (ACID[1], HYDROXYL),
]  # fmt: skip
DOUBLE = [(RING[0], RING[1]), (RING[2], RING[3]), (RING[4], RING[5]), (ACID[1], ACID[2])]


def test_ibuprofen_is_drawn_bond_by_bond_and_submitted(server: Server, person: Make) -> None:
    page = person(server.url).page
    page.goto("/jobs/new")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#editor canvas, #editor *").first).to_be_attached()
    box = page.locator("#editor").bounding_box()
    assert box is not None
    x, y = box["x"], box["y"]

    def press(*places: Point) -> None:
        page.mouse.move(x + places[0][0], y + places[0][1])
        page.mouse.down()
        for right, down in places[1:]:
            page.mouse.move(x + right, y + down, steps=3)
        page.mouse.up()

    press(BOND)
    for bond in SINGLE:
        press(*bond)
    for (left, top), (right, bottom) in DOUBLE:
        press(((left + right) / 2, (top + bottom) / 2))  # a press on a bond makes it double
    press(OXYGEN)
    press(ACID[2])
    press(HYDROXYL)
    expect(page.locator("#verdict dl")).to_contain_text("C13H18O2")
    expect(page.locator("#send")).to_contain_text("core-hours")
    page.locator("#send").click()
    expect(page.locator("#live_head")).to_be_visible()
    job = server.home.job(page.url.rsplit("/", 1)[1])
    from rdkit import Chem

    assert Chem.CanonSmiles(job["structure"]) == Chem.CanonSmiles("CC(C)Cc1ccc(cc1)C(C)C(=O)O")


@pytest.fixture
def gated(home: Home) -> Iterator[Home]:
    """A home whose xTB runs until the file `gate` exists."""
    home.extra |= {"QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(home.path.parent / "gate")}
    yield home
    Path(home.extra["STAND_IN_GATE"]).touch()


def test_a_restarted_daemon_is_shown_by_pages_that_stay_open(
    gated: Home, daemon: Callable[..., Daemon], person: Make
) -> None:
    first = daemon(ready=False).wait_ready(90.0)
    with served(gated) as server:
        job = server.submit(xtb("through a restart", files=[{"name": "water.xyz", "text": WATER.format("gate=1")}]))
        one = person(server.url)
        page, overview = one.page, one.open()
        page.goto(f"/jobs/{job}")
        overview.goto("/")
        for tab in (page, overview):
            tab.evaluate("window.mine = 1")
        state = page.locator("#live_head .state").first
        expect(state).to_contain_text("running", timeout=60_000)
        first.signal(signal.SIGTERM)
        first.process.wait(60)
        expect(overview.locator("#live_workers")).to_contain_text("No worker runs")
        lead = page.locator("#live_head .lead")
        expect(lead).to_contain_text("waits for a worker: none is running")
        _expect_interrupted(page, overview, "no worker runs")
        for tab in (page, overview):
            expect(tab.locator("#live-status")).to_have_text("live")  # the server answers: only the worker is away
        second = daemon(ready=False).wait_ready(90.0)
        expect(lead).not_to_contain_text("waits for a worker", timeout=60_000)
        expect(overview.locator("#live_workers tbody tr")).to_have_count(1)
        expect(state).to_contain_text("running", timeout=60_000)
        expect(overview.locator("#live_running .state").first).to_contain_text("running")
        second.process.kill()
        for pid in gated.processes():
            if pid != server.process.pid:
                with suppress(ProcessLookupError):  # it ended with the others
                    os.kill(pid, signal.SIGKILL)
        expect(lead).to_contain_text("ended unexpectedly")
        _expect_interrupted(page, overview, "ended unexpectedly")
        expect(page.locator("#live_step h2 .state")).to_contain_text("interrupted")
        expect(page.locator("[data-grid] .cell").first).to_have_attribute("title", re.compile("interrupted"))
        overview.goto("/workers")
        expect(overview.locator("#live_workers .state").first).to_contain_text("ended unexpectedly")
        expect(overview.locator("#live_workers code").first).to_have_text("qmrunner run")
        overview.goto("/")
        overview.evaluate("window.mine = 1")
        daemon(ready=False).wait_ready(90.0)
        expect(state).to_contain_text("running", timeout=60_000)
        Path(gated.extra["STAND_IN_GATE"]).touch()
        expect(state).to_contain_text("succeeded", timeout=60_000)
        for tab in (page, overview):
            assert tab.evaluate("window.mine") == 1


def _expect_interrupted(page: Page, overview: Page, why: str) -> None:
    expect(page.locator("#live_head .state").first).to_contain_text("interrupted")
    expect(page.locator("#live_head")).not_to_contain_text("runs for")
    row = overview.locator("#live_running tbody tr").first
    expect(row.locator(".state")).to_contain_text("interrupted")
    expect(row).to_contain_text(why)
    expect(overview.locator("#live_person")).to_contain_text("no worker runs")


def test_a_server_that_is_asked_too_often_reports_it_and_nothing_typed_is_lost(home: Home, person: Make) -> None:
    true = shutil.which("true")
    assert true is not None
    home.extra |= {"QMRUNNER_XTB": true, "QMRUNNER_NWCHEM": true, "QMRUNNER_API_RATE_PER_MINUTE": "20"}
    with served(home) as server:
        page = person(server.url).page
        page.goto("/jobs/new?kind=conformers")
        verdict, structure = page.locator("#verdict"), page.locator("#structure")
        structure.fill("C")
        expect(verdict.locator("dl")).to_contain_text("CH4")
        for carbons in range(2, 12):  # every three seconds one more request is allowed, perhaps the one of the page
            while server.client.get("/v1/me").status_code != 429:
                pass
            structure.fill("C" * carbons)
            expect(verdict).to_contain_text(re.compile(f"rate_limited|C{carbons}H"))
            if "rate_limited" in verdict.inner_text():
                break
        expect(verdict.locator("#problem")).to_contain_text("too many requests")
        expect(verdict.locator("dl")).to_have_count(0)
        assert structure.input_value() == "C" * carbons
        answer = page.context.request.get("/jobs", headers={"Accept": "text/html"})
        assert answer.status == 200 or int(answer.headers["retry-after"]) >= 1
        time.sleep(3.5)
        structure.fill("CCN")
        expect(verdict.locator("dl")).to_contain_text("C2H7N")
