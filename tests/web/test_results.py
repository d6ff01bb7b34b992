"""The pages of results and of comparisons: one selection in four views, measured peaks, candidates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from qmrunner.chemistry import scaling, sensitivity
from tests.api.lab import Server
from tests.finished import ETHANOL, finish
from tests.support import ROOT, Home
from tests.web.lab import AXE, Person, findings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
Make = Callable[..., Person]
DATA = ROOT / "benchmarks" / "data"
MOLECULES: dict[str, Any] = json.loads((DATA / "delta50_part.json").read_text())["molecules"]
ANSWERS: dict[str, Any] = json.loads((DATA / "delta50_draft.json").read_text())
# SMILES of two isomers of DELTA50, and the atoms of each of their signals, from high shift to low.
PYRIMIDINE = ("compound_23", "c1cncnc1", {"13C": [[4], [2, 6], [1]], "1H": [[9], [8, 10], [7]]})
PYRIDAZINE = ("compound_25", "c1ccnnc1", {"13C": [[3, 6], [1, 2]], "1H": [[9, 10], [7, 8]]})
HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}"


def submitted(server: Server, smiles: str, name: str) -> str:
    return server.submit({"kind": "nmr", "smiles": smiles, "conformers": "none", "name": name})


@pytest.fixture(scope="module")
def ethanol(server: Server, place: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A result of three conformers."""
    job = submitted(server, "CCO", HOSTILE)
    energies = (-154.9, -154.8992, -154.8986)
    finish(place, job, "CCO", ETHANOL, tmp_path_factory.mktemp("e") / "run", energies=energies)
    return job


@pytest.fixture(scope="module")
def isomers(server: Server, place: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Job by compound: the computed shifts are those of the benchmark."""
    found = {}
    for key, smiles, groups in (PYRIMIDINE, PYRIDAZINE):
        shifts = {}
        for nucleus, atoms in groups.items():
            line = scaling.line_for(nucleus, "chloroform", "draft")
            rows = ANSWERS[key]["shifts"]
            values = sorted({line.shift(row["shielding_ppm"]) for row in rows if row["nucleus"] == nucleus})
            assert len(values) == len(atoms)
            for value, group in zip(reversed(values), atoms, strict=True):
                shifts |= {str(atom): value for atom in group}
        found[key] = submitted(server, smiles, MOLECULES[key]["name"])
        finish(place, found[key], smiles, shifts, tmp_path_factory.mktemp("i") / "run")
    return found


def measured_list(key: str) -> str:
    parts = MOLECULES[key]["shifts_ppm"]
    return "\n".join(f"{n}: " + ", ".join(map(str, sorted(set(parts[n].values())))) for n in ("13C", "1H"))


def chosen(page: Page) -> list[str]:
    """What each view has chosen: the line of a spectrum, the row of the table, the circles of the drawing."""
    return [
        page.locator(f"{part}.chosen").evaluate_all("all => all.map(one => one.dataset.atoms).join('|')")
        for part in (".stick", "table.shifts tr", "circle.atom")
    ]


def test_one_selection_joins_structure_spectrum_table_and_3d_both_ways(
    server: Server, ethanol: str, person: Make
) -> None:
    page = person(server.url).page
    page.goto(f"/jobs/{ethanol}/result")
    page.locator("#spectrum-1H .stick[data-atoms='7 8']").focus()
    page.keyboard.press("Enter")
    assert chosen(page) == ["7 8", "7 8", "2 7 8"]
    expect(page).to_have_url(re.compile("#atom=7$"))
    expect(page.locator("#picked")).to_contain_text("H7,H8")
    page.locator("table.shifts tr[data-atoms='4 5 6'] button").click()
    assert chosen(page) == ["4 5 6", "4 5 6", "1 4 5 6"]
    page.locator("circle.atom[data-atoms='2 7 8']").click()
    assert chosen(page) == ["2", "2", "2 7 8"]
    page.locator("circle.atom[data-atoms='2 7 8']").click()
    assert chosen(page) == ["7 8", "7 8", "2 7 8"]
    if page.locator("#show-3d").count():
        page.locator("#show-3d").click()
        viewer = page.locator("#viewer")
        expect(viewer).to_have_attribute("data-chosen", "7 8", timeout=60_000)
        page.locator("table.shifts tr[data-atoms='9'] button").click()
        expect(viewer).to_have_attribute("data-chosen", "9")
        expect(viewer).to_have_attribute("data-conformer", "c1")
        page.locator("[data-step='1']").click()
        expect(viewer).to_have_attribute("data-conformer", "c2")
        expect(viewer).to_have_attribute("data-chosen", "9")
    page.goto("about:blank")
    page.goto(f"/jobs/{ethanol}/result#atom=5")
    expect(page.locator("table.shifts tr.chosen")).to_have_attribute("data-atoms", "4 5 6")


def test_the_spectrum_zooms_by_key_and_back(server: Server, ethanol: str, person: Make) -> None:
    page = person(server.url).page
    page.goto(f"/jobs/{ethanol}/result")
    stick = page.locator("#spectrum-1H .stick[data-atoms='7 8']")
    line = stick.locator("line")
    before = float(line.get_attribute("x1") or 0)
    stick.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("+")
    assert float(line.get_attribute("x1") or 0) != before
    page.keyboard.press("0")
    assert float(line.get_attribute("x1") or 0) == pytest.approx(before, abs=0.01)


def test_measured_peaks_are_kept_shown_and_removed(server: Server, ethanol: str, person: Make) -> None:
    page = person(server.url).page
    page.goto(f"/jobs/{ethanol}/result")
    page.locator("#peaks").fill("no peaks at all <b>")
    page.get_by_role("button", name="Compare and keep").click()
    expect(page.locator("#problem")).to_contain_text("no_peaks")
    expect(page.locator("#peaks")).to_have_value("no peaks at all <b>")
    page.locator("#peaks").fill("13C: 18.1, 57.9, 77.2\n1H: 1.22, 3.70, 2.6")
    page.get_by_role("button", name="Compare and keep").click()
    row = page.locator("table.shifts tr[data-atoms='2']")
    expect(row).to_contain_text("57.9")
    expect(page.locator(".spectrum .peak")).to_have_count(5)
    expect(page.locator("#main")).to_contain_text("77.2 (CDCl3)")
    # The page came by a form: its parts still listen, once each.
    row.locator("button").click()
    assert chosen(page)[1] == "2"
    page.reload()
    expect(page.locator("#peaks")).to_have_value("13C: 18.1, 57.9, 77.2\n1H: 1.22, 3.70, 2.6")
    page.get_by_role("button", name="Remove the peaks").click()
    expect(page.locator(".spectrum .peak")).to_have_count(0)


def test_sliders_compute_what_the_server_computes(server: Server, ethanol: str, person: Make) -> None:
    page = person(server.url).page
    page.goto(f"/jobs/{ethanol}/result")
    page.locator("[name=temperature]").fill("340")
    page.locator("[name=energy_error]").fill("0.8")
    data = server.client.get(f"/v1/jobs/{ethanol}/conformers", params={"shieldings": "true"}).json()["ensemble"]
    rows = {row["atom"]: row for row in sensitivity.evaluate(data, 340.0, 0.8)}
    for atom, digits in ((1, 1), (4, 2)):
        cells = page.locator(f"#sensitive tr[data-first='{atom}'] td.num").all_inner_texts()
        expected = [rows[atom][name] for name in ("shift_ppm", "low_ppm", "high_ppm")]
        assert [float(text.replace("−", "-")) for text in cells] == pytest.approx(expected, abs=0.51 * 10**-digits)
    shown = page.locator("td[data-weight]").all_inner_texts()
    assert [float(text) for text in shown] == pytest.approx(sensitivity.weights(data, 340.0), abs=6e-4)


@pytest.mark.parametrize("right", ["compound_23", "compound_25"])
def test_the_measured_isomer_comes_first(server: Server, isomers: dict[str, str], person: Make, right: str) -> None:
    page = person(server.url).page
    page.goto(f"/compare?jobs={','.join(isomers.values())}")
    page.locator("#peaks").fill(measured_list(right))
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#main")).to_contain_text(f"{MOLECULES[right]['name']} fits best, with ")
    row = page.get_by_role("row", name=re.compile(MOLECULES[right]["name"])).first
    share = float(row.locator("meter").get_attribute("value") or 0)
    assert share > 0.99
    assert page.locator("svg.overlaid").count() == 2
    assert page.locator("svg.overlaid").first.locator("path.curve").count() == 2
    assert page.locator("svg.overlaid .peak").count() == len(re.findall(r"\d+\.\d+", measured_list(right)))


def test_a_long_list_of_peaks_is_compared_whole(server: Server, isomers: dict[str, str], person: Make) -> None:
    page = person(server.url).page
    page.goto(f"/compare?jobs={','.join(isomers.values())}")
    lines = "\n".join(f"{ppm}, 1" for ppm in (159.1, 156.9, 121.7))
    head = "##TITLE=a\n$$ " + "x" * 1500 + "\n##.OBSERVE NUCLEUS=^13C\n##PEAK TABLE=(XY..XY)\n"
    page.locator("#peaks").fill(f"{head}{lines}\n##END=")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator("#main")).to_contain_text("fits best, with ")
    expect(page.locator("#peaks")).to_have_value(re.compile("##END="))


def test_without_scripts_everything_is_read_sent_and_computed(server: Server, ethanol: str, person: Make) -> None:
    page = person(server.url, java_script_enabled=False).page
    page.goto(f"/jobs/{ethanol}/result")
    expect(page.locator("table.shifts tr[data-atoms='2']")).to_contain_text("57.8")
    expect(page.locator(".spectrum .curve")).to_have_count(2)
    page.locator("#peaks").fill("57.9, 18.1")
    page.get_by_role("button", name="Compare and keep").click()
    expect(page.locator("table.shifts tr[data-atoms='2']")).to_contain_text("57.9")
    page.goto(f"/jobs/{ethanol}/result?temperature=340&energy_error=0.8")
    data = server.client.get(f"/v1/jobs/{ethanol}/conformers", params={"temperature": 340}).json()
    expect(page.locator("#at-temperature")).to_have_text("340 K")
    shown = page.locator("td[data-weight]").all_inner_texts()
    assert [float(text) for text in shown] == pytest.approx([row["weight_at"] for row in data["conformers"]], abs=6e-4)
    page.get_by_role("button", name="Remove the peaks").click()


def test_a_result_without_shifts_and_jobs_without_a_result(server: Server, person: Make) -> None:
    job = server.submit()
    page = person(server.url).page
    answer = page.goto(f"/jobs/{job}/result")
    assert answer is not None
    assert answer.status == 409
    expect(page.locator("#main")).to_contain_text("no_result")
    answer = page.goto("/compare?jobs=zzzzzzzz,../../etc&text=%3Cscript%3E")
    assert answer is not None
    assert answer.status == 200
    expect(page.locator("#problem")).to_contain_text("job_unknown")


@pytest.mark.skipif(not AXE.is_file(), reason="axe is not installed; deploy/assets.py brings it")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(
    server: Server, ethanol: str, isomers: dict[str, str], person: Make, scheme: str, width: int
) -> None:
    one = person(server.url, color_scheme=scheme, viewport={"width": width, "height": 900})
    found = []
    text = "13C%3A+157.5%2C+159.5%2C+122"
    for path in (
        f"/jobs/{ethanol}/result#atom=1",
        "/compare",
        f"/compare?jobs={','.join(isomers.values())}&text={text}",
    ):
        one.page.goto(path)
        found += findings(one.page)
        wider = one.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, path
    assert found == []
