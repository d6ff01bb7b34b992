"""Many jobs in one request: an answer for each line, keys for each line, and bounds for all."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from qmrunner.api.upload import lines
from qmrunner.errors import UsageError
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


def test_two_lines_are_checked_at_a_time_and_answered_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of different length: never more than two run, answers keep the order, an early end leaves none running."""
    running: set[int] = set()
    seen: list[int] = []

    async def checked(*asked: Any) -> Any:
        number = int(asked[3])
        running.add(number)
        seen.append(len(running))
        try:
            await asyncio.sleep(0.02 if number % 2 else 0.001)
        finally:
            running.discard(number)
        if number == 3:
            raise UsageError("bad", "line 3")
        return number

    async def answer(_: object, number: Any, dry_run: bool) -> dict[str, Any]:
        return {"id": number}

    monkeypatch.setattr(lines, "_checked", checked)
    monkeypatch.setattr(lines, "_answer", answer)
    body = [str(number).encode() for number in range(1, 8)]
    nothing: Any = None

    async def whole() -> list[dict[str, Any]]:
        asked = lines.answers(nothing, nothing, nothing, body, group=None, dry_run=True)
        return [json.loads(line) async for line in asked]

    async def early() -> None:
        asked = lines.answers(nothing, nothing, nothing, body, group=None, dry_run=True)
        async with aclosing(asked):
            await anext(asked)
        assert running == set()

    found = asyncio.run(whole())
    assert [row["line"] for row in found] == list(range(1, 8))
    assert [row.get("id") for row in found] == [1, 2, None, 4, 5, 6, 7]
    assert max(seen) == 2
    asyncio.run(early())
