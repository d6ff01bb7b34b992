"""The check before a submission: what it reports, that it refuses what a submission refuses, and stores nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from qmrunner.app import App
from tests.api.lab import WATER, XTB, Server, refused, served
from tests.store.work import Work
from tests.support import Home

DECK = "start w\ngeometry\n load format xyz water.xyz\nend\nbasis\n * library 6-31g\nend\ntask scf energy\n"


@pytest.fixture(autouse=True)
def nothing_stored(server: Server) -> Iterator[None]:
    """Jobs and folders are the same after the test as before."""
    folder = server.home.settings.jobs_root
    before = (server.jobs(), sorted(folder.iterdir()) if folder.exists() else [])
    yield
    assert (server.jobs(), sorted(folder.iterdir()) if folder.exists() else []) == before


def checked(server: Server, form: dict[str, Any]) -> dict[str, Any]:
    answer = server.client.post("/v1/check", json=form)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_molecule_is_described_before_anything_is_computed(server: Server) -> None:
    found = checked(server, {"kind": "nmr", "smiles": "CC(O)C(Br)=CC"})
    assert (found["formula"], found["atoms"], found["charge"], found["multiplicity"]) == ("C5H9BrO", 16, 0, 1)
    assert found["rotors"] == 2
    assert found["drawing"].startswith("<?xml")
    warned = {(row["code"], tuple(row["atoms"])) for row in found["warnings"]}
    assert ("stereo_open", (2,)) in warned
    assert any(code == "stereo_open" and len(atoms) == 2 for code, atoms in warned)
    assert {code for code, _ in warned} >= {"exchangeable", "heavy_halogens", "one_conformer"}
    assert [row["stage"] for row in found["stages"]] == ["embed", "preopt", "optimise", "shielding", "shifts"]
    assert found["steps"] == [5, 5]
    assert found["core_hours"] == pytest.approx(sum(row["core_s"] for row in found["stages"]) / 3600, rel=0.01)
    assert found["needs"]["memory_mib"] == max(row["memory_mib"] for row in found["stages"])
    assert {row["basis"] for row in found["stages"]} == {"rule"}
    assert (found["wall_s"], found["workers"]["count"]) == (None, 0)


def test_an_ensemble_has_a_range_of_steps_and_costs_more(server: Server) -> None:
    single = checked(server, {"kind": "nmr", "smiles": "CCCCCC"})
    many = checked(server, {"kind": "nmr", "smiles": "CCCCCC", "conformers": "rdkit", "max_conformers": 6})
    assert many["steps"][0] < many["steps"][1]
    stages = {row["stage"]: row["steps"] for row in many["stages"]}
    assert stages["optimise"] == stages["shielding"] == [2, 6]
    assert many["core_hours"] > 4 * single["core_hours"]
    quick = checked(server, {"kind": "nmr", "smiles": "CCCCCC", "conformers": "rdkit", "level": "quick"})
    assert "preopt" not in {row["stage"] for row in quick["stages"]}


@pytest.mark.parametrize(
    "form",
    [
        XTB,
        {"kind": "nwchem", "files": [{"name": "w.nw", "text": DECK}, {"name": "water.xyz", "text": WATER}]},
    ],
)
def test_the_work_of_a_users_own_input_is_unknown_and_not_zero(server: Server, form: dict[str, Any]) -> None:
    found = checked(server, form)
    assert (found["core_hours"], found["wall_s"]) == (None, None)
    assert found["stages"][0]["basis"] == "unknown"
    assert found["needs"]["memory_mib"] > 0


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"kind": "nmr", "smiles": "C1CC"}, "invalid_smiles"),
        ({"kind": "nmr", "smiles": "CCO", "solvent": "chlorofrom"}, "unknown_solvent"),
        ({"kind": "nmr", "smiles": "C" * 200}, "too_many_atoms"),
        ({"kind": "crest", "files": XTB["files"]}, "engine_missing"),
        ({"kind": "orca"}, "invalid_request"),
        ({**XTB, "group": ""}, "invalid_request"),
        ({**XTB, "group": 'a"b'}, "group_invalid"),
    ],
)
def test_what_a_submission_refuses_is_refused_in_the_same_words(
    server: Server, form: dict[str, Any], code: str
) -> None:
    checked_error = refused(server.client.post("/v1/check", json=form), 422, code)
    assert checked_error == refused(server.client.post("/v1/jobs", json=form), 422, code)


def test_a_structure_file_is_drawn_with_the_numbers_of_its_atoms(server: Server) -> None:
    answer = server.client.post(
        "/v1/check", data={"job": json.dumps({"kind": "nmr"})}, files={"file": ("w.xyz", WATER)}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["formula"] == "H2O"
    assert answer.json()["drawing"]


def test_workers_give_a_range_of_time_and_say_what_they_lack(home: Home) -> None:
    app = App(home.settings)
    work = Work(app.open_store(create=True))
    work.now = app.store.now()
    work.worker()
    with served(home, QMRUNNER_XTB="/bin/true", QMRUNNER_NWCHEM="/bin/true") as server:
        found = checked(server, {"kind": "nmr", "smiles": "CCO"})
        assert (found["workers"]["count"], found["workers"]["cores"], found["workers"]["unmet"]) == (1, 8, None)
        low, high = found["wall_s"]
        assert 0 < low < high
        large = checked(server, {"kind": "nmr", "smiles": "C" * 30, "level": "production"})
        assert large["wall_s"][0] > low
        none = checked(server, {"kind": "nmr", "smiles": "CCO", "require": ["gpu"]})
        assert none["workers"] == {"count": 0, "cores": 0, "unmet": None}
    app.close()
