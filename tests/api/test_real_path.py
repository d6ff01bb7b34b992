"""From a request to shifts and files, with a real daemon and real engines; the server is a process beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.api.lab import WATER, events_of, refused, served
from tests.support import Daemon, Home, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.mark.timeout(300)
def test_water_is_uploaded_followed_to_its_end_and_its_result_and_files_are_fetched(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    daemon(QMRUNNER_CORES="1")  # beside other tests: ranks spin while they wait for each other
    with served(home) as server:
        answer = server.client.post(
            "/v1/jobs",
            data={"job": '{"kind": "xtb", "args": ["--opt", "tight"]}'},
            files={"file": ("water.xyz", WATER)},
        )
        assert answer.status_code == 201, answer.text
        job = answer.json()["id"]
        assert answer.headers["location"] == f"/v1/jobs/{job}"
        with server.client.stream("GET", f"/v1/jobs/{job}/events/stream") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            told = list(events_of(stream.iter_lines()))
        assert [one["event"] for one in told] == [
            "job_accepted", "step_claimed", "attempt_succeeded", "job_succeeded", "end",
        ]  # fmt: skip
        assert told[-1]["data"] == {"state": "succeeded"}
        seen = server.client.get(f"/v1/jobs/{job}").json()["job"]
        assert (seen["state"], seen["steps"][0]["state"], seen["progress"]["fraction"]) == ("succeeded", "succeeded", 1)
        result = server.client.get(f"/v1/jobs/{job}/result").json()
        assert result["energy_hartree"] == pytest.approx(-5.0705, abs=1e-3)
        files = {one["name"]: one["bytes"] for one in server.client.get(f"/v1/jobs/{job}/files").json()["files"]}
        assert set(files) == set(result["files"])
        for name, size in files.items():
            fetched = server.client.get(f"/v1/jobs/{job}/files/{name}")
            assert fetched.content == (home.settings.jobs_root / job / name).read_bytes()
            assert len(fetched.content) == size
        with server.client.stream("GET", f"/v1/jobs/{job}/steps/xtb/log/stream") as stream:
            pieces = [one["data"]["text"] for one in events_of(stream.iter_lines()) if one["event"] == "log"]
        assert "".join(pieces) == server.client.get(f"/v1/jobs/{job}/steps/xtb/log").text
        assert "TOTAL ENERGY" in "".join(pieces)
        assert 'qmrunner_jobs_ended_total{code="ok",state="succeeded"} 1.0' in server.client.get("/metrics").text


@pytest.mark.slow
def test_a_smiles_becomes_shifts_and_a_failing_deck_becomes_a_code_with_evidence(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    daemon(QMRUNNER_CORES="1")  # beside other tests: ranks spin while they wait for each other
    with served(home) as server:
        nmr = server.submit({"kind": "nmr", "smiles": "O"})
        deck = "start x\ngeometry\n O 0 0 0\n H 0 0.76 0.59\n H 0 -0.76 0.59\nend\nbasis\n * library no-such\nend\n"
        bad = server.submit({"kind": "nwchem", "files": [{"name": "x.nw", "text": f"{deck}task scf energy\n"}]})

        def state(job: str) -> str:
            return str(server.client.get(f"/v1/jobs/{job}").json()["job"]["state"])

        wait_for(lambda: state(bad) == "failed", 120.0, "the failure of the deck")
        why = server.client.get(f"/v1/jobs/{bad}/why").json()
        assert why["code"] == "basis_not_found"
        assert "basis" in why["evidence"]["text"]
        assert why["remedy"]
        refused(server.client.get(f"/v1/jobs/{bad}/result"), 409, "no_result")
        wait_for(lambda: state(nmr) == "succeeded", 240.0, "the shifts of water")
        result = server.client.get(f"/v1/jobs/{nmr}/result").json()
        assert [row["nucleus"] for row in result["shifts"]] == ["1H", "1H"]
        assert "folder" not in result
        spectrum = server.client.get(f"/v1/jobs/{nmr}/files/spectrum_1H.svg")
        assert spectrum.headers["content-disposition"] == "attachment"
        assert b"<svg" in spectrum.content
