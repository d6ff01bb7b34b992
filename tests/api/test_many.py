"""Many jobs in one request: an answer for each line, keys for each line, and bounds for all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.lab import XTB, Server, refused


def send(server: Server, *jobs: Any, **query: str) -> list[dict[str, Any]]:
    body = "\n".join(job if isinstance(job, str) else json.dumps(job) for job in jobs)
    answer = server.client.post("/v1/jobs/many", content=body.encode(), params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_line_has_its_answer_and_a_bad_one_stops_no_other(server: Server) -> None:
    found = send(
        server,
        {**XTB, "name": "a"}, {"kind": "nmr", "smiles": "C1CC"}, "{", "[]", {"kind": "orca"},
        {**XTB, "name": "b", "group": "own"}, {**XTB, "key": ""}, {**XTB, "key": 5}, group="m1",
    )  # fmt: skip
    assert [row["line"] for row in found] == list(range(1, 9))
    codes = [row["error"]["code"] if "error" in row else None for row in found]
    invalid = "invalid_request"
    assert codes == [None, "invalid_smiles", invalid, invalid, invalid, None, "bad_header", "bad_header"]
    rows = {row["id"]: row for row in server.jobs()}
    assert (rows[found[0]["id"]]["group"], rows[found[5]["id"]]["group"]) == ("m1", "own")


def test_a_key_gives_the_same_job_here_and_in_a_single_submission(server: Server) -> None:
    job = {**XTB, "name": "k", "key": "many-1"}
    (first,), (again,) = send(server, job), send(server, job)
    assert (first["new"], again) == (True, {**first, "new": False})
    assert server.submit({**XTB, "name": "k"}, **{"Idempotency-Key": "many-1"}) == first["id"]
    (other,) = send(server, {**XTB, "name": "other", "key": "many-1"})
    assert other["error"]["code"] == "key_in_use"


def test_a_dry_run_reports_costs_and_stores_nothing(server: Server) -> None:
    before = server.jobs()
    good, bad = send(server, {"kind": "nmr", "smiles": "CCO"}, {"kind": "nmr", "smiles": "Q"}, dry_run="true")
    assert good["verdict"]["formula"] == "C2H6O"
    assert good["verdict"]["drawing"] is None
    assert bad["error"]["code"] == "invalid_smiles"
    assert server.jobs() == before


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [("\n".join(["{}"] * 501), 413, "too_many_lines"), ("x" * (17 << 20), 413, "body_too_large")],
)
def test_a_body_beyond_the_bounds_is_refused_whole(server: Server, body: str, status: int, code: str) -> None:
    before = server.jobs()
    refused(server.client.post("/v1/jobs/many", content=body.encode()), status, code)
    assert server.jobs() == before


def test_a_line_that_is_too_long_or_too_deep_is_refused_alone(server: Server) -> None:
    found = send(server, {**XTB, "name": "x" * (1 << 18)}, "[" * 1000, XTB)
    assert [("id" in row) for row in found] == [False, False, True]
