"""The pages in a browser: live, by keyboard, for screen readers, with hostile words, in many tabs, without scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from qmrunner.model import visible
from tests.api.lab import Server, served
from tests.support import Home, wait_for
from tests.web.lab import AXE, Person, findings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
Make = Callable[..., Person]
HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'-alert(1)-'", "{{7*7}}{% raw %}",
    "</textarea><svg onload=alert(1)>",
    "javascript:alert(1)", "\u202eevil\u202c", "%3Cscript%3E", "<!--<base href=//evil.example>",
    "A" * 200, "&lt;b&gt; &amp; ]]>",
]  # fmt: skip
PAGES = ["/", "/jobs", "/jobs/new", "/jobs/new?kind=nwchem", "/workers", "/activity", "/system", "/tokens", "/help",
    "/jobs/new/many", "/system/doctor", "/system/sweeps", "/system/scratch", "/docs",
]  # fmt: skip


@pytest.fixture(scope="module")
def jobs(server: Server) -> dict[str, str]:
    """A job with each hostile name, one that is held and one that was cancelled."""
    found = {name: server.submit({**_xtb(), "name": name}) for name in HOSTILE}
    found["held"], found["cancelled"] = (
        server.submit({**_xtb(), "name": "held"}),
        server.submit({**_xtb(), "name": "off"}),
    )
    assert server.client.post(f"/v1/jobs/{found['held']}/hold").status_code == 200
    assert server.client.post(f"/v1/jobs/{found['cancelled']}/cancel").status_code == 200
    return found


def _xtb() -> dict[str, object]:
    return {"kind": "xtb", "files": [{"name": "water.xyz", "text": "1\n<b>alert(1)</b>\nH 0 0 0\n"}]}


def test_hostile_words_are_text_on_every_page(server: Server, jobs: dict[str, str], person: Make) -> None:
    one = person(server.url)
    for path in [*PAGES, "/jobs?q=%3Cscript%3Ealert(1)%3C/script%3E", "/jobs?q=state:%22%3E%3Cimg%20src=x%3E"]:
        one.page.goto(path)
    one.page.goto("/jobs")
    for name, job in jobs.items():
        if name not in ("held", "cancelled"):
            expect(one.page.locator(f"#row-{job} td.main a")).to_have_text(visible.line(name))
    for job in list(jobs.values())[:4]:
        for path in (f"/jobs/{job}", f"/jobs/{job}/why", f"/jobs/{job}/files", f"/jobs/new?from={job}"):
            one.page.goto(path)
            assert one.page.locator("main script, main [style], main [onload], main [onerror]").count() == 0
    one.check()


def test_no_page_has_inline_scripts_or_styles_and_each_has_the_policy(server: Server, jobs: dict[str, str]) -> None:
    for path in [*PAGES, f"/jobs/{jobs['held']}", f"/jobs/{jobs['held']}/why", "/no-such-page", "/jobs/no"]:
        answer = httpx.get(f"{server.url}{path}", headers={"Accept": "text/html"}, trust_env=False, timeout=60.0)
        assert answer.headers["content-type"].startswith("text/html"), path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "style=" not in answer.text
        assert "<script>" not in answer.text
        assert "onclick" not in answer.text


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)])
def test_axe_finds_nothing(server: Server, jobs: dict[str, str], person: Make, scheme: str, width: int) -> None:
    if not AXE.exists():
        pytest.fail("axe is missing: run deploy/assets.py")
    one = person(server.url, color_scheme=scheme, viewport={"width": width, "height": 900})
    found = []
    for path in [*PAGES, f"/jobs/{jobs['held']}", f"/jobs/{jobs['cancelled']}/why", f"/jobs/{jobs['held']}/files"]:
        one.page.goto(path)
        found += findings(one.page)
        wide = one.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} pixels too wide at {width}"
    assert found == []


def test_a_job_is_held_and_released_by_keyboard_and_the_list_keeps_its_filter(server: Server, person: Make) -> None:
    job = server.submit({**_xtb(), "name": "keys"})
    one = person(server.url)
    page = one.page
    page.goto("/jobs")
    page.keyboard.press("/")
    page.keyboard.type("keys state:queued")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("j")
    expect(page.locator("tr.at")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("keys")
    page.get_by_role("button", name="Hold").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#live_head .state").first).to_contain_text("held")
    assert server.home.job(job)["state"] == "held"
    page.get_by_role("button", name="Release").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#live_head .state").first).to_contain_text("waiting")
    page.go_back()
    assert "keys" in page.url


def test_a_page_follows_what_others_do_without_a_reload_and_keeps_focus_and_typed_text(
    server: Server, person: Make
) -> None:
    job = server.submit({**_xtb(), "name": "followed"})
    page = person(server.url).page
    page.goto("/jobs")
    page.evaluate("window.mine = 1")
    page.locator("#q").fill("half a wo")
    server.client.post(f"/v1/jobs/{job}/hold")
    expect(page.locator(f"#row-{job} .state")).to_contain_text("held", timeout=5000)
    assert page.evaluate("window.mine") == 1
    assert page.evaluate("document.activeElement.id") == "q"
    assert page.locator("#q").input_value() == "half a wo"
    expect(page.locator("#live-status")).to_have_text("live")


def test_a_server_that_stops_is_admitted_within_seconds_and_the_page_recovers(place: Home, person: Make) -> None:
    with served(place) as first:
        port = first.url.rsplit(":", 1)[1]
        job = first.submit({**_xtb(), "name": "through a restart"})
        page = person(first.url).page
        page.goto(f"/jobs/{job}")
        expect(page.locator("#live-status")).to_have_text("live")
        page.evaluate("window.mine = 1")
        first.process.kill()
        expect(page.locator("#live-status")).to_contain_text("not live", timeout=9000)
    assert place.run("hold", job).returncode == 0
    with served(place, "--port", port):
        expect(page.locator("#live-status")).to_have_text("live", timeout=20_000)
        expect(page.locator("#live_head .state").first).to_contain_text("held", timeout=5000)
        assert page.evaluate("window.mine") == 1


def test_ten_tabs_of_one_browser_all_load_and_all_follow(server: Server, person: Make) -> None:
    job = server.submit({**_xtb(), "name": "ten"})
    one = person(server.url)
    tabs = [one.page, *(one.open() for _ in range(9))]
    for tab in tabs:
        tab.goto(f"/jobs/{job}", wait_until="domcontentloaded")
    server.client.post(f"/v1/jobs/{job}/hold")
    for tab in tabs:
        expect(tab.locator("#live_head .state").first).to_contain_text("held", timeout=20_000)
    words = [tab.locator("#live-status").inner_text() for tab in tabs]
    assert 1 <= words.count("live") <= 4
    assert set(words) <= {"live", "asks every 3 s"}


def test_a_clock_that_is_wrong_by_an_hour_changes_no_age(server: Server, person: Make) -> None:
    job = server.submit({**_xtb(), "name": "clock"})
    one = person(server.url)
    one.page.clock.install(time=time.time() - 3600)
    one.page.clock.resume()
    one.page.goto(f"/jobs/{job}")
    expect(one.page.locator("#live-status")).to_have_text("live")
    wait_for(lambda: " s ago" in one.page.locator("#live_head time").first.inner_text(), 10.0, "an age in seconds")


def test_without_scripts_one_filters_submits_and_acts(server: Server, person: Make, tmp_path: Path) -> None:
    page = person(server.url, java_script_enabled=False).page
    page.goto("/jobs/new?kind=xtb")
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    page.locator("#file").set_input_files(tmp_path / "water.xyz")
    page.locator("#name").fill("no scripts")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#verdict")).to_contain_text("core-hours")
    page.locator("#file").set_input_files(tmp_path / "water.xyz")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("h1")).to_have_text("no scripts")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#live_head .state").first).to_contain_text("cancelled")
    page.goto("/jobs")
    page.locator("#q").fill("state:cancelled scripts")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.goto("/jobs/new")
    page.locator("#structure").fill("C(C")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#problem")).to_contain_text("invalid_smiles")
    assert page.locator("#structure").input_value() == "C(C"


def test_a_molecule_is_drawn_checked_and_submitted_once(server: Server, person: Make) -> None:
    one = person(server.url)
    page = one.page
    page.goto("/jobs/new?kind=conformers")
    page.locator("#structure").fill("C(C")
    expect(page.locator("#problem")).to_contain_text("invalid_smiles")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#editor canvas, #editor *").first).to_be_attached()
    page.locator("#structure").fill("CCO")
    expect(page.locator("#verdict dl")).to_contain_text("C2H6O")
    expect(page.locator("#send")).to_contain_text("core-hours")
    assert page.locator("#verdict svg text, #verdict svg path").count() > 2
    page.locator("#name").fill("twice")
    page.locator("#send").dblclick(no_wait_after=True)
    expect(page.locator("h1")).to_have_text("twice")
    first = page.url
    page.go_back()
    expect(page.locator("#structure")).to_have_value("CCO")
    page.locator("#send").click()
    expect(page.locator("h1")).to_have_text("twice")
    assert page.url == first
    assert len([row for row in server.jobs() if row["name"] == "twice"]) == 1
    page.go_back()
    page.locator("#name").fill("another")
    page.locator("#send").click()
    expect(page.locator("h1")).to_have_text("another")


def test_a_page_of_another_port_can_neither_act_nor_read_nor_frame(server: Server, browser: Browser) -> None:
    job = server.submit({**_xtb(), "name": "framed"})
    page_of_another = f"""<!doctype html><iframe src="{server.url}/jobs/{job}"></iframe>
        <form method="post" action="{server.url}/jobs/{job}/do"><input name="verb" value="cancel"></form>"""

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page_of_another.encode())

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        context = browser.new_context()
        try:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{other.server_port}/")
            assert "framed" not in page.frames[1].content()
            for mode in ("cors", "no-cors"):
                page.evaluate(
                    """([url, mode]) => fetch(url, {method: 'POST', mode, credentials: 'include',
                    body: new URLSearchParams({verb: 'cancel'})}).then((answer) => answer.text()).catch(() => '')""",
                    [f"{server.url}/jobs/{job}/do", mode],
                )
            with page.expect_navigation():
                page.evaluate("document.forms[0].submit()")
            assert "cross_origin" in page.content()
        finally:
            context.close()
            other.shutdown()
            thread.join()
    assert server.home.job(job)["state"] == "queued"


def test_many_jobs_are_moved_after_a_look_at_their_number_and_the_filter_is_kept(server: Server, person: Make) -> None:
    made = [server.submit({**_xtb(), "name": f"batch {number}", "group": "b7"}) for number in range(24)]
    server.client.post(f"/v1/jobs/{made[0]}/cancel")
    page = person(server.url).page
    page.goto("/jobs?q=group:b7")
    page.locator("#which").select_option("all")
    page.locator("#bulk").get_by_role("button", name="Hold").click()
    expect(page.locator(".lead")).to_contain_text("23 would be moved")
    expect(page.locator("main")).to_contain_text("it is cancelled")
    page.get_by_role("button", name="Hold 23 jobs").click()  # the number was not typed: the browser refuses
    page.locator("#typed").fill("23")
    page.get_by_role("button", name="Hold 23 jobs").click()
    expect(page.locator(".lead")).to_contain_text("23 moved, 1 left")
    page.get_by_role("link", name="Back to the list").click()
    assert page.url.endswith("/jobs?q=group%3Ab7")
    assert {server.home.job(job)["state"] for job in made[1:]} == {"held"}
    page.locator(f"#row-{made[1]} input").check()
    page.locator("#bulk").get_by_role("button", name="Release").click()
    page.get_by_role("button", name="Release 1 job").click()
    expect(page.locator(".lead")).to_contain_text("1 moved")
    assert server.home.job(made[1])["state"] == "queued"
    page.go_back()
    expect(page.locator(".lead")).to_contain_text("1 would be moved")
