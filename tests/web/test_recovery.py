"""What a person at the page of a job sees of a real run: energies, a kill of its worker, evidence, cancellation."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.api.lab import Server, served
from tests.support import Daemon, Home, wait_for
from tests.web.lab import Person

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.ranks, pytest.mark.timeout(400)]
_GEOMETRY = "geometry\n O 0 0 0.117\n H 0 0.9 -0.6\n H 0 -0.757 -0.471\nend\n"
BAD = f"start x\n{_GEOMETRY}basis\n * library no-such\nend\ntask scf energy\n"
# Long enough to be killed: an optimisation in a diffuse basis.
LONG = (
    "start x\ngeometry\n O -1.5 0 0\n H -0.8 0.7 0\n H -2.3 0.6 0.2\n O 1.5 0 0\n H 0.8 -0.7 0.1\n H 2.3 -0.6 0\nend\n"
    "basis spherical\n * library 6-311++g**\nend\ndft\n xc b3lyp\n grid fine\nend\ndriver\n maxiter 60\nend\n"
    "task dft optimize\n"
)


def _deck(server: Server, name: str, text: str) -> str:
    form = {"kind": "nwchem", "name": name, "files": [{"name": "x.nw", "text": text}]}
    return server.submit(form)


def test_a_smiles_becomes_shifts_on_a_page_that_is_never_reloaded(
    home: Home, daemon: Callable[..., Daemon], person: Callable[..., Person]
) -> None:
    daemon()
    with served(home) as server:
        page = person(server.url).page
        page.goto("/jobs/new")
        page.locator("#structure").fill("O")
        expect(page.locator("#verdict dl")).to_contain_text("H2O")
        page.locator("#level").select_option("quick")
        page.locator("#send").click()
        expect(page.locator("h1")).to_be_visible()
        job = page.url.rsplit("/", 1)[1]
        page.evaluate("window.mine = 1")
        expect(page.locator("#live_head .state").first).to_contain_text("succeeded", timeout=240_000)
        assert page.locator("[data-grid] .cell.succeeded").count() >= 3
        result = json.loads((home.settings.jobs_root / job / "result.json").read_text())
        assert result


def test_the_evidence_is_shown_in_its_line_of_the_log(
    home: Home, daemon: Callable[..., Daemon], person: Callable[..., Person]
) -> None:
    daemon()
    with served(home) as server:
        job = _deck(server, "no basis", BAD)
        page = person(server.url).page
        page.goto(f"/jobs/{job}/why")
        expect(page.locator("#live_head .state").first).to_contain_text("failed", timeout=120_000)
        evidence = home.json("why", job)["evidence"]
        log = server.client.get(f"/v1/jobs/{job}/steps/nwchem/log").text.split("\n")
        hit = page.locator("li.hit span").first
        assert hit.inner_text().strip() == log[evidence["line"] - 1].strip()
        page.locator("li.hit a").first.click()
        expect(page.locator(f"#L{evidence['line']} span")).to_have_text(log[evidence["line"] - 1], use_inner_text=False)
        page.get_by_role("button", name="Retry", exact=True).click()
        wait_for(lambda: home.job(job)["steps"][0]["attempt"] >= 2, 60.0, "the second attempt")


def test_a_killed_worker_is_seen_as_lost_and_recovered_and_a_cancelled_job_leaves_no_process(
    home: Home, daemon: Callable[..., Daemon], person: Callable[..., Person]
) -> None:
    first = daemon()
    with served(home) as server:
        job = _deck(server, "long", LONG)
        page = person(server.url).page
        page.goto(f"/jobs/{job}")
        page.evaluate("window.mine = 1")
        expect(page.locator("#live_step")).to_contain_text("engine", timeout=60_000)
        running = wait_for(lambda: home.job(job)["steps"][0]["engine_pid"], 60.0, "the engine")
        wait_for(lambda: "SCF" in page.locator("#live_step").inner_text(), 120.0, "the SCF on the page")
        first.process.kill()
        for pid in home.processes():
            if pid != server.process.pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it ended with the others
        daemon()
        wait_for(lambda: home.job(job)["steps"][0]["attempt"] == 2, 90.0, "the second attempt")
        expect(page.locator("#live_step")).to_contain_text("worker_lost", timeout=60_000)
        expect(page.locator("#live_head .state").first).to_contain_text("running", timeout=60_000)
        expect(page.locator("#log")).to_have_attribute("data-attempt", "2", timeout=30_000)
        assert page.evaluate("window.mine") == 1
        page.goto("/")
        expect(page.locator("#live_recoveries")).to_contain_text(job)
        page.goto(f"/jobs/{job}")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#live_head .state").first).to_contain_text("cancelled", timeout=60_000)
        assert not os.path.exists(f"/proc/{running}")
        wait_for(
            lambda: not [pid for pid in home.processes() if b"nwchem" in _command(pid)], 20.0, "the end of the engine"
        )


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[0]
    except OSError:
        return b""
