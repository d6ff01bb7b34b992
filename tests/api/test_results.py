"""Results over HTTP: measured peaks, comparison, conformers, downloads."""

from __future__ import annotations

import io
import json
import re
import zipfile
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest

from qmrunner.chemistry import peaks
from tests.api.lab import Server, refused
from tests.finished import ETHANOL, METHOXYMETHANE, finish
from tests.support import Home

TEXT = "13C: 18.1, 57.9, 77.2\n1H: 1.22 (3H), 3.70 (2H), 2.6 (1H)"


@pytest.fixture(scope="module")
def ethanol(server: Server, place: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished job of two conformers, with a hostile name."""
    name = "<script>alert(1)</script> & \"ethanol'"
    job = server.submit({"kind": "nmr", "smiles": "CCO", "conformers": "none", "name": name})
    finish(place, job, "CCO", ETHANOL, tmp_path_factory.mktemp("e") / "run", energies=(-154.9, -154.899))
    return job


@pytest.fixture(scope="module")
def ether(server: Server, place: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    job = server.submit({"kind": "nmr", "smiles": "COC", "conformers": "none", "name": "dimethyl ether"})
    finish(place, job, "COC", METHOXYMETHANE, tmp_path_factory.mktemp("m") / "run")
    return job


@pytest.fixture(scope="module")
def unfinished(server: Server) -> str:
    return server.submit({"kind": "nmr", "smiles": "CO", "conformers": "none"})


def put(server: Server, job: str, **form: Any) -> Any:
    return server.client.put(f"/v1/jobs/{job}/measured", json=form)


def test_measured_peaks_are_kept_compared_replaced_and_removed(server: Server, ethanol: str) -> None:
    path = f"/v1/jobs/{ethanol}/measured"
    refused(server.client.get(path), 404, "no_measured")
    first = put(server, ethanol, text=TEXT).json()
    assert first["text"] == TEXT
    seen = server.client.get(path).json()
    assert seen == first
    carbon, proton = seen["comparisons"]
    assert [(row["label"], row["measured_ppm"]) for row in carbon["signals"]] == [("C2", 57.9), ("C1", 18.1)]
    assert [peak["line_of"] for peak in carbon["aside"]] == ["CDCl3"]
    assert {row["label"]: row["measured_ppm"] for row in proton["signals"]} == {
        "H4–H6": 1.22,
        "H7,H8": 3.7,
        "H9": 2.6,
    }
    assert carbon["rank"]["molecules"] == 25
    assert proton["statistics"]["without_exchangeable"]["signals"] == 2
    assert put(server, ethanol, text="58.0, 18.0").json()["comparisons"][0]["nucleus"] == "13C"
    assert put(server, ethanol, text="58.0, 18.0").status_code == 200
    events = server.client.get(f"/v1/jobs/{ethanol}/events").json()["events"]
    assert [event["event"] for event in events].count("measured_set") == 2
    assert server.client.delete(path).status_code == 204
    refused(server.client.get(path), 404, "no_measured")
    refused(server.client.delete(path), 404, "no_measured")


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"text": "hello"}, 422, "no_peaks"),
        ({"text": ""}, 422, "no_peaks"),
        ({"text": "1" * (peaks.MOST_CHARACTERS + 1)}, 422, "invalid_request"),
        ({"text": "7.2", "nucleus": "31P"}, 422, "invalid_request"),
        ({"text": 7.2}, 422, "invalid_request"),
        ({"peaks": "7.2"}, 422, "invalid_request"),
    ],
)
def test_bad_peaks_are_refused_and_nothing_is_kept(
    server: Server, ether: str, form: Any, status: int, code: str
) -> None:
    refused(put(server, ether, **form), status, code)
    refused(server.client.get(f"/v1/jobs/{ether}/measured"), 404, "no_measured")


def test_control_characters_do_not_pass(server: Server, ether: str) -> None:
    answer = server.client.put(
        f"/v1/jobs/{ether}/measured",
        content='{"text": "60.9\\u0000\\u001b[2J, 3\\u202e"}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == "60.9[2J, 3"
    assert server.client.delete(f"/v1/jobs/{ether}/measured").status_code == 204


def test_jobs_without_shifts_and_unknown_jobs_are_refused(server: Server, unfinished: str) -> None:
    other = server.submit()
    for path in ("measured", "conformers", "report.html", "spectrum_1H.jdx", "text", "archive.zip"):
        refused(server.client.get(f"/v1/jobs/zzzzzzzz/{path}"), 404, "job_unknown")
    for path in ("conformers", "report.html", "spectrum_1H.jdx", "text", "conformers/c1.xyz"):
        refused(server.client.get(f"/v1/jobs/{unfinished}/{path}"), 409, "no_result")
        refused(server.client.get(f"/v1/jobs/{other}/{path}"), 409, "no_result")
    refused(put(server, unfinished, text="1.2"), 409, "no_result")
    refused(server.client.post("/v1/compare", json={"jobs": [unfinished, other]}), 409, "no_result")


def test_candidates_are_weighed_and_the_right_one_wins(server: Server, ethanol: str, ether: str) -> None:
    form = {"jobs": [ether, ethanol], "text": TEXT}
    seen = server.client.post("/v1/compare", json=form).json()
    assert [job["formula"] for job in seen["jobs"]] == ["C2H6O", "C2H6O"]
    wrong, right = seen["probability"]["candidates"]
    assert right["probability"] > 0.99 > 0.01 > wrong["probability"]
    assert seen["probability"]["reason"] is None
    assert seen["atoms"] is None
    assert seen["jobs"][1]["comparisons"][0]["statistics"]["all"]["rmsd_ppm"] < 1
    kept = put(server, ether, text=TEXT)
    assert kept.status_code == 200
    again = server.client.post("/v1/compare", json={"jobs": [ethanol, ether]}).json()
    assert again["peaks_of"] == ether
    server.client.delete(f"/v1/jobs/{ether}/measured")


def test_one_candidate_has_no_probability_and_one_molecule_an_atom_table(server: Server, ethanol: str) -> None:
    seen = server.client.post("/v1/compare", json={"jobs": [ethanol], "text": TEXT}).json()
    assert "at least two" in seen["probability"]["reason"]
    refused(server.client.post("/v1/compare", json={"jobs": [ethanol, ethanol]}), 422, "bad_candidates")
    refused(server.client.post("/v1/compare", json={"jobs": []}), 422, "invalid_request")
    refused(server.client.post("/v1/compare", json={"jobs": ["../../etc"]}), 404, "job_unknown")


def test_conformers_have_weights_for_any_temperature(server: Server, ethanol: str) -> None:
    path = f"/v1/jobs/{ethanol}/conformers"
    seen = server.client.get(path, params={"shieldings": "true"}).json()
    assert [row["id"] for row in seen["conformers"]] == ["c1", "c2"]
    assert sum(row["weight_at"] for row in seen["conformers"]) == pytest.approx(1)
    assert seen["conformers"][0]["weight_at"] == pytest.approx(seen["conformers"][0]["weight"])
    assert len(seen["ensemble"]["shieldings_ppm"]) == 2
    hot = server.client.get(path, params={"temperature": 400, "energy_error": 1}).json()
    assert hot["conformers"][0]["weight_at"] < seen["conformers"][0]["weight_at"]
    first = hot["atoms"][0]
    assert first["low_ppm"] < first["shift_ppm"] < first["high_ppm"]
    refused(server.client.get(path, params={"temperature": 5}), 422, "bad_temperature")
    refused(server.client.get(path, params={"energy_error": 50}), 422, "bad_energy_error")
    refused(server.client.get(path, params={"temperature": "nan"}), 422, "bad_temperature")


def test_one_geometry_at_a_time(server: Server, ethanol: str) -> None:
    answer = server.client.get(f"/v1/jobs/{ethanol}/conformers/c2.xyz")
    assert answer.text.splitlines()[0] == "9"
    assert answer.text.splitlines()[1].split()[1] == "c2"
    assert len(answer.text.splitlines()) == 11
    for name in ("c3", "../c1", "c1%2f..%2fc2", "%2e%2e%2fstore", "c" * 300):
        assert server.client.get(f"/v1/jobs/{ethanol}/conformers/{name}.xyz").status_code in (400, 404)


def test_the_peak_table_is_jcamp_and_reads_back(server: Server, ethanol: str) -> None:
    answer = server.client.get(f"/v1/jobs/{ethanol}/spectrum_1H.jdx")
    assert answer.headers["content-disposition"] == f'attachment; filename="{ethanol}-1H.jdx"'
    (found,) = peaks.read(answer.text).lists
    rows = server.client.get(f"/v1/jobs/{ethanol}/result").json()["shifts"]
    shifts = {row["shift_ppm"] for row in rows if row["nucleus"] == "1H"}
    assert [peak.ppm for peak in found.peaks] == sorted(shifts, reverse=True)
    assert server.client.get(f"/v1/jobs/{ethanol}/spectrum_31P.jdx").status_code == 422


def test_the_archive_has_every_published_file(server: Server, ethanol: str) -> None:
    answer = server.client.get(f"/v1/jobs/{ethanol}/archive.zip")
    listed = {one["name"]: one["bytes"] for one in server.client.get(f"/v1/jobs/{ethanol}/files").json()["files"]}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {entry.filename: entry.file_size for entry in archive.infolist()} == {
            f"{ethanol}/{name}": size for name, size in listed.items()
        }
        rows = archive.read(f"{ethanol}/shifts.csv").decode()
    assert rows.startswith("atom,symbol,nucleus,shift_ppm")


class _Tags(HTMLParser):
    """The tags of a page, and what it would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "style") or name.startswith("on")]


def test_the_report_is_one_file_without_scripts_or_loads(server: Server, ethanol: str) -> None:
    put(server, ethanol, text=TEXT)
    answer = server.client.get(f"/v1/jobs/{ethanol}/report.html")
    server.client.delete(f"/v1/jobs/{ethanol}/measured")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"].startswith("sandbox")
    tags = _Tags()
    tags.feed(answer.text)
    assert tags.loads == []
    assert not {"script", "link", "img", "iframe", "object"} & set(tags.names)
    assert tags.names.count("svg") == 3
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "57.9" in answer.text
    assert "RMSD" in answer.text
    assert "url(http" not in answer.text


def test_texts_for_a_paper_name_methods_and_sources(server: Server, ethanol: str) -> None:
    seen = server.client.get(f"/v1/jobs/{ethanol}/text").json()
    assert re.fullmatch(r"13C NMR \(calc\., .*, CDCl3\) δ 58\.\d \(C2\), 18\.\d \(C1\)\.|13C.*", seen["lists"]["13C"])
    assert "(2H, H7,H8)" in seen["lists"]["1H"]
    assert "(1H, H9, exchangeable)" in seen["lists"]["1H"]
    assert "GIAO B3LYP/6-31G*" in seen["methods"]
    assert "25 molecules" in seen["methods"]
    assert any("DELTA50" in source for source in seen["citations"])
    json.dumps(seen)


def closed(schema: Any) -> Any:
    """The schema without leave for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(part) for key, part in schema.items()}
    if found.get("type") == "object" and "properties" in found:
        found["additionalProperties"] = False
    return found


def test_the_description_names_every_field_of_a_result(
    server: Server, place: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Real answers against `openapi.json`, with every object closed to other fields."""
    described = server.client.get("/openapi.json").json()
    first, second = (
        server.submit({"kind": "nmr", "smiles": smiles, "conformers": "none", "name": smiles})
        for smiles in ("CCO", "COC")
    )
    folder = tmp_path_factory.mktemp("d")
    finish(place, first, "CCO", ETHANOL, folder / "1", energies=(-154.9, -154.8995, -154.898))
    finish(place, second, "COC", METHOXYMETHANE, folder / "2")
    peaks = "13C NMR (CDCl3): 58.3, 18.2 (C1), 77.16, 99.0\n1H: 3.7 (2H), 1.2 (3H)"
    kept = server.client.put(f"/v1/jobs/{first}/measured", json={"text": peaks})
    answers = {
        "/v1/jobs/{job_id}/result": server.client.get(f"/v1/jobs/{first}/result"),
        "/v1/jobs/{job_id}/conformers": server.client.get(
            f"/v1/jobs/{first}/conformers?shieldings=true&energy_error=1"
        ),
        "/v1/jobs/{job_id}/measured": kept,
        "/v1/jobs/{job_id}/text": server.client.get(f"/v1/jobs/{first}/text"),
        "/v1/compare": server.client.post("/v1/compare", json={"jobs": [first, second]}),
    }
    for path, answer in answers.items():
        assert answer.status_code == 200, f"{path}: {answer.text}"
        route = described["paths"][path]["post" if "compare" in path else "get"]
        schema = route["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"], path
        components = closed(described["components"])
        components["schemas"]["ResultAnswer"]["additionalProperties"] = True  # kinds of jobs add fields
        jsonschema.validate(answer.json(), schema | {"components": components})
    assert answers["/v1/jobs/{job_id}/measured"].json()["comparisons"][0]["aside"]
    assert answers["/v1/compare"].json()["probability"]["candidates"][0]["probability"] is not None
    assert answers["/v1/jobs/{job_id}/conformers"].json()["ensemble"]["shieldings_ppm"]
