"""The job list over HTTP: its filters, its query language, its counts; and a job with very many steps in one answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from qmrunner.app import App
from qmrunner.store.tables import jobs, steps
from tests.api.lab import XTB, Server, refused, served
from tests.store.work import Work
from tests.support import Home

_MANY = 4000
ALANINE = "C[C@H](N)C(=O)O"


@pytest.fixture(scope="module")
def made(server: Server) -> dict[str, str]:
    """Jobs by a short name."""
    asked = {
        "ethanol": {"kind": "nmr", "smiles": "OCC", "name": "Ethanol draft", "group": "alcohols"},
        "alanine": {"kind": "nmr", "smiles": "N[C@@H](C)C(=O)O", "group": "acids"},
        "water": {**XTB, "group": "alcohols", "name": "Water"},
    }
    found = {name: server.submit(form) for name, form in asked.items()}
    server.client.post(f"/v1/jobs/{found['water']}/cancel")
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"group": "alcohols"}, ["water", "ethanol"]),
        ({"group": ["acids", "alcohols"], "state": "queued"}, ["alanine", "ethanol"]),
        ({"structure": "C(C)O"}, ["ethanol"]),
        ({"structure": ALANINE}, ["alanine"]),
        ({"structure": "QNAYBMKLOCPYGJ"}, ["alanine"]),
        ({"structure": "C[C@@H](N)C(=O)O"}, []),
        ({"code": "cancelled"}, ["water"]),
        ({"q": "group:alcohols state:waiting"}, ["ethanol"]),
        ({"q": "smiles:OCC since:1d draft"}, ["ethanol"]),
        ({"q": "group:alcohols", "state": "cancelled"}, ["water"]),
        ({"since": "1h", "kind": "nmr"}, ["alanine", "ethanol"]),
        ({"until": "1h"}, []),
        ({"owner": "alice"}, []),
    ],
)
def test_the_list_has_the_jobs_that_meet_all_conditions(
    server: Server, made: dict[str, str], query: dict[str, str], expected: list[str]
) -> None:
    answer = server.client.get("/v1/jobs", params={**query, "count": "true"})
    assert answer.status_code == 200, answer.text
    names = {job: name for name, job in made.items()}
    assert [names[row["id"]] for row in answer.json()["jobs"]] == expected
    assert answer.json()["count"]["total"] == len(expected)


def test_a_job_names_its_group_and_its_molecule(server: Server, made: dict[str, str]) -> None:
    row = server.client.get(f"/v1/jobs/{made['alanine']}").json()["job"]
    assert (row["group"], row["structure"], row["inchikey"]) == ("acids", ALANINE, "QNAYBMKLOCPYGJ-REOHCLBHSA-N")
    listed = server.home.json("status", made["alanine"])["job"]
    assert listed == row | {"steps": listed["steps"]}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"q": "stat:failed"}, "bad_query"),
        ({"q": 'group:"open'}, "bad_query"),
        ({"since": "yesterday"}, "bad_query"),
        ({"structure": "C1CC"}, "invalid_smiles"),
        ({"q": "smiles:xyz.mol"}, "invalid_smiles"),
        ({"structure": "/etc/passwd"}, "invalid_smiles"),
        ({"q": "x" * 2001}, "invalid_request"),
        ({"count": "perhaps"}, "invalid_request"),
        ({"group": "a\0b"}, "invalid_request"),
    ],
)
def test_a_condition_that_is_not_understood_is_refused(server: Server, query: dict[str, str], code: str) -> None:
    refused(server.client.get("/v1/jobs", params=query), 422, code)


@pytest.fixture
def crowd(home: Home) -> Iterator[tuple[Server, str]]:
    """A server, and a job of 4,000 steps in several states."""
    app = App(home.settings)
    work = Work(app.open_store(create=True))
    job = work.job()
    with work.store.write() as connection:
        row = dict(connection.execute(select(steps).where(steps.c.job_id == job)).one()._mapping)
        del row["id"]
        states = ("succeeded", "skipped", "failed", "succeeded", "running", "waiting")
        rows = [
            {**row, "name": f"{stage}-c{number}", "stage": stage, "state": states[number % 6], "attempt": 1}
            for stage in ("preopt", "optimise", "shielding", "other")
            for number in range(_MANY // 4)
        ]
        connection.execute(steps.insert(), rows)
        assert connection.execute(select(jobs.c.id)).scalar_one() == job
    with served(home) as server:
        yield server, job
    app.close()


def test_a_job_of_four_thousand_steps_fits_into_sixty_kilobytes(crowd: tuple[Server, str]) -> None:
    server, job = crowd
    answer = server.client.get(f"/v1/jobs/{job}", params={"steps": "summary"})
    assert answer.status_code == 200, answer.text
    assert len(answer.content) <= 60_000
    found = answer.json()["job"]
    stage = next(stage for stage in found["stages"] if stage["stage"] == "optimise")
    assert len(stage["ids"]) == len(stage["states"]) == _MANY // 4
    names = [stage["prefix"] + one for one in stage["ids"]]
    assert names == [f"optimise-c{number}" for number in range(_MANY // 4)]
    assert found["letters"][stage["states"][2]] == "failed"
    assert stage["counts"]["running"] == stage["states"].count("R")
    assert len(found["notable"]) == 200
    assert found["notable_more"] == sum(len(one["states"]) - len(one["states"].translate({82: "", 102: ""})) for one in
                                        found["stages"]) - 200  # fmt: skip
