"""The state for scripts: who asks, what may be sent, what needs a person, a worker, the history, and this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qmrunner.app import App
from qmrunner.store import events, examinations, workers
from tests.api.lab import Server, events_of, refused, served
from tests.store.work import FAIL, SUCCEED, Work
from tests.support import Home


@pytest.fixture
def own(home: Home) -> Iterator[tuple[Server, Work]]:
    """A server and its store, in which the test plays the workers."""
    app = App(home.settings)
    work = Work(app.open_store(create=True))
    work.now = app.store.now()
    with served(home) as server:
        yield server, work
    app.close()


def got(server: Server, path: str, **query: Any) -> Any:
    answer = server.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_caller_learns_its_name_and_scope(home: Home) -> None:
    App(home.settings).open_store(create=True)
    with served(home) as server:
        assert got(server, "/v1/me") == {"name": None, "scope": "admin"}
        secret = home.json("token", "add", "alice", "--scope", "read")["secret"]
        server.client.headers["Authorization"] = f"Bearer {secret}"
        assert got(server, "/v1/me") == {"name": "alice", "scope": "read"}
        needy = ("GET /v1/doctor", "GET /v1/sweeps", "POST /v1/sweeps", "GET /v1/workers/1/checks",
                 "GET /v1/jobs/j/arguments")  # fmt: skip
        for method, path in (row.split() for row in needy):
            refused(server.client.request(method, path), 403, "scope_too_small")


@pytest.mark.slow
def test_every_option_that_is_offered_is_accepted(server: Server) -> None:
    found = got(server, "/v1/options")
    assert {"chloroform", "vacuum"} <= {row["key"] for row in found["solvents"]}
    for name, values in (("solvent", found["solvents"]), ("level", found["levels"])):
        for value in values:
            form = {"kind": "nmr", "smiles": "C", name: value["key"]}
            assert server.client.post("/v1/check", json=form).status_code == 200
    assert found["engines"]["xtb"] is True
    assert found["limits"]["atoms"] == 100


def test_the_overview_names_what_needs_a_person(own: tuple[Server, Work]) -> None:
    server, work = own
    assert got(server, "/v1/overview")["attention"] == []
    fails, holds = work.job(), work.job()
    assert [row["code"] for row in got(server, "/v1/overview")["attention"]] == ["no_worker"]
    work.ask("hold", holds)
    work.finish(work.claimed(work.worker()), FAIL)
    with work.store.write() as connection:
        workers.set_paused(connection, work.now, True)
    seen = got(server, "/v1/overview", limit=1)
    found = {row["code"]: row for row in seen["attention"]}
    assert found["job_held"]["job"] == holds
    assert (found["job_failed"]["job"], found["job_failed"]["next"]) == (fails, f"qmrunner why {fails}")
    assert "paused" in found
    assert len(seen["jobs"]) == 1
    assert "path" not in seen["disk"]["home"]


def test_a_worker_is_shown_with_what_runs_on_it_and_its_day(own: tuple[Server, Work]) -> None:
    server, work = own
    worker, job = work.worker(), work.job()
    work.job()
    claim, done = work.claimed(worker), work.claimed(worker)
    work.now -= 7200
    work.start(claim)
    work.start(done)
    work.uses(claim, memory_mib=120.0, scratch_mib=30.0)
    work.now += 7200
    work.finish(done, SUCCEED)
    with work.store.write() as connection:
        workers.consumer_died(connection, work.now, worker, 9)
    found = got(server, f"/v1/workers/{worker}")
    assert found["used"] == {"memory_mib": 120.0, "scratch_mib": 30.0, "shm_mib": None}
    assert [(row["job"], row["step"], row["attempt"]) for row in found["running"]] == [(job, "a", 1)]
    assert found["day"]["restarts"] == 1
    assert found["day"]["core_hours"] == pytest.approx(4, rel=0.1)
    assert found["day"]["attempts"] == {"running": 1, "succeeded": 1}
    for wrong in ("999", "x", "1" * 30):
        refused(server.client.get(f"/v1/workers/{wrong}"), 404, "worker_unknown")


def test_the_history_comes_in_pages_and_by_name(own: tuple[Server, Work]) -> None:
    server, work = own
    jobs = [work.job() for _ in range(5)]
    first = got(server, "/v1/events", limit=3)
    assert [row["job"] for row in first["events"]] == [jobs[4], jobs[3], jobs[2]]
    rest = got(server, "/v1/events", limit=3, cursor=first["next"])
    assert [row["job"] for row in rest["events"]] == [jobs[1], jobs[0]]
    assert rest["next"] is None
    work.ask("hold", jobs[1])
    found = got(server, "/v1/events", event=["job_held", "job_released"])
    assert [(row["event"], row["job"]) for row in found["events"]] == [("job_held", jobs[1])]
    refused(server.client.get("/v1/events", params={"event": "x'"}), 422, "invalid_request")


def test_the_stream_of_all_events_resumes_without_a_gap_or_a_repetition(own: tuple[Server, Work]) -> None:
    server, work = own
    work.job()
    with work.store.read() as connection:
        last = events.newest(connection)
    made = [work.job() for _ in range(3)]
    with server.client.stream("GET", "/v1/events/stream", headers={"Last-Event-ID": str(last)}) as answer:
        found = events_of(answer.iter_lines())
        assert [next(found)["data"]["job"] for _ in range(3)] == made
        work.ask("hold", made[0])
        event = next(found)
        assert (event["event"], event["data"]["job"]) == ("job_held", made[0])
    refused(server.client.get("/v1/events/stream", headers={"Last-Event-ID": "x"}), 400, "bad_header")


def test_scratch_is_planned_anywhere_and_shown_where_a_worker_has_its_home(own: tuple[Server, Work]) -> None:
    server, _ = own
    assert got(server, "/v1/scratch/plan", jobs=2, conformers=3, level="draft")["asked"]["conformers"] == 3
    refused(server.client.get("/v1/scratch/plan", params={"level": "drafd"}), 422, "unknown_level")
    refused(server.client.get("/v1/scratch/usage"), 409, "no_home_here")
    refused(server.client.get("/v1/sweeps"), 409, "no_home_here")
    App(server.home.settings).home_id()
    assert got(server, "/v1/scratch/usage")["jobs"] == []
    left = server.home.settings.scratch_root / "left" / "a" / "1"
    left.mkdir(parents=True)
    planned = got(server, "/v1/sweeps")["actions"]
    assert left.is_dir()
    done = server.client.post("/v1/sweeps").json()["actions"]
    assert [row["target"] for row in done] == [row["target"] for row in planned]
    assert all(not row["done"] for row in planned)
    assert all(row["done"] for row in done)


def test_the_report_of_a_worker_is_there_once_it_has_examined_its_machine(own: tuple[Server, Work]) -> None:
    server, work = own
    worker = work.worker()
    path = f"/v1/workers/{worker}"
    assert got(server, path)["examined"] is None
    refused(server.client.get(f"{path}/checks"), 404, "not_examined")
    refused(server.client.get("/v1/workers/77/checks"), 404, "worker_unknown")
    refused(server.client.get("/v1/workers/x/checks"), 404, "worker_unknown")
    check = {"name": "xtb", "result": "fail", "code": "gone", "text": "t", "remedy": None, "data": {"mib": 1}}
    with work.store.write() as connection:
        examinations.save(connection, work.now, worker, [check])
    assert got(server, f"{path}/checks")["checks"] == [check]
    assert got(server, path)["examined"]["fail"] == 1
    assert "checks_failed" in [row["code"] for row in got(server, "/v1/overview")["attention"]]


def test_the_machine_of_the_server_is_examined(own: tuple[Server, Work]) -> None:
    server, _ = own
    found = server.client.get("/v1/doctor", timeout=120.0).json()
    assert {row["name"] for row in found["checks"]} >= {"settings", "store"}
    assert sum(found["summary"].values()) == len(found["checks"])
    assert got(server, "/v1/doctor") == found
