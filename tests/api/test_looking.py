"""Lists, filters and pages; what a scrape counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qmrunner.api.event_counters import Tally
from qmrunner.api.rate_limit import Rate
from qmrunner.app import App
from qmrunner.model.policy import Verdict
from qmrunner.model.states import AttemptState
from qmrunner.store import events, workers
from tests.api.lab import XTB, Server, refused, served
from tests.store.work import FAIL, REQUEUE, SUCCEED, Work
from tests.support import Home

LOST = Verdict("requeue", AttemptState.LOST, "machine_lost")


@pytest.fixture(scope="module")
def many(server: Server) -> list[str]:
    """Twelve jobs, oldest first: every third on hold, each fourth an nmr job, named by number."""
    ids = []
    for number in range(12):
        form: dict[str, Any] = {"kind": "nmr", "smiles": "C"} if number % 4 == 0 else dict(XTB)
        ids.append(server.submit({**form, "name": f"Job {number} of 100%_"}))
        if number % 3 == 0:
            assert server.client.post(f"/v1/jobs/{ids[-1]}/hold").status_code == 200
    return ids


def listed(server: Server, **query: Any) -> list[str]:
    answer = server.client.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["jobs"]]


def test_the_newest_job_comes_first(server: Server, many: list[str]) -> None:
    assert listed(server) == many[::-1]


def test_filters_leave_what_they_name(server: Server, many: list[str]) -> None:
    assert set(listed(server, state="held")) == set(many[::3])
    assert set(listed(server, kind="nmr")) == set(many[::4])
    assert set(listed(server, kind=["nmr", "xtb"], state=["held", "queued"])) == set(many)
    assert set(listed(server, kind="nmr", state="held")) == {many[0]}
    assert listed(server, state="failed") == []
    assert listed(server, name="job 7 ") == [many[7]]
    assert listed(server, name="100%_") == many[::-1]
    assert listed(server, name="1%_of") == []


def test_pages_follow_each_other_without_gap_or_overlap_while_jobs_come(server: Server, many: list[str]) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 5, "state": ["held", "queued"]} | ({"cursor": cursor} if cursor else {})
        page = server.client.get("/v1/jobs", params=query).json()
        seen += [row["id"] for row in page["jobs"]]
        if cursor is None:
            server.client.post(f"/v1/jobs/{server.submit()}/cancel")
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == many[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=-1", "state=done", "kind=orca", "name=%00"]
)
def test_a_question_that_makes_no_sense_is_refused(server: Server, query: str) -> None:
    refused(server.client.get(f"/v1/jobs?{query}"), 422, "invalid_request")


def test_unknown_routes_and_methods_answer_in_the_same_shape(server: Server) -> None:
    refused(server.client.get("/v1/nothing"), 404, "route_unknown")
    refused(server.client.put("/v1/jobs"), 405, "method_not_allowed")


@pytest.fixture
def own(home: Home) -> Iterator[tuple[Server, Work]]:
    """A server and its store, in which the test plays the workers."""
    with served(home) as server:
        app = App(home.settings)
        yield server, Work(app.open_store(create=True))
        app.close()


def scraped(server: Server) -> dict[str, float]:
    """Every sample by its name with labels."""
    answer = server.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = re.findall(r"^(qmrunner_\S+?(?:\{.*\})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in samples}


def test_a_scrape_reports_what_the_store_knows(own: tuple[Server, Work]) -> None:
    server, work = own
    worker = work.worker()
    for _ in range(5):
        work.job()
    lost = work.claimed(worker)
    work.start(lost)
    work.finish(work.claimed(worker), SUCCEED)
    work.finish(work.claimed(worker), FAIL, usage={"survivors_ended": 3})
    before = scraped(server)
    assert before["qmrunner_queue_depth"] == 2
    assert before['qmrunner_running{engine="xtb"}'] == 1
    assert before['qmrunner_jobs{state="queued"}'] == 2
    assert before['qmrunner_attempts_total{code="ok",state="succeeded"}'] == 1
    assert before['qmrunner_attempts_total{code="crash",state="failed"}'] == 1
    assert before['qmrunner_jobs_ended_total{code="crash",state="failed"}'] == 1
    assert before["qmrunner_orphan_processes_total"] == 3
    assert before["qmrunner_fenced_writes_total"] == 0
    assert before["qmrunner_recovery_seconds_count"] == 0
    assert before["qmrunner_events_unread"] == 0
    assert (
        before["qmrunner_lease_age_seconds"]
        == before[f'qmrunner_worker_heartbeat_age_seconds{{name="w",worker="{worker}"}}']
    )
    assert before[f'qmrunner_worker_reserved_cores{{name="w",worker="{worker}"}}'] == 1
    work.finish(lost, LOST)
    work.now += 2
    again = work.claimed(worker)
    assert again.step.id == lost.step.id
    assert work.finish(lost, SUCCEED) is None
    with work.store.write() as connection:  # as the worker does whose outcome came too late
        events.append(connection, work.now, "attempt_fenced", job_id=lost.step.job_id, step="a", attempt=1)
    after = scraped(server)
    assert after["qmrunner_recovery_seconds_sum"] == 2
    assert after['qmrunner_recovery_seconds_bucket{le="1.0"}'] == 0
    assert after['qmrunner_recovery_seconds_bucket{le="2.5"}'] == 1
    assert after["qmrunner_fenced_writes_total"] == 1
    assert after['qmrunner_attempts_total{code="machine_lost",state="lost"}'] == 1
    assert after['qmrunner_api_requests_total{method="GET",route="/metrics",status="200"}'] == 1


def test_attempts_of_a_dead_worker_are_orphaned_until_another_worker_releases_them(own: tuple[Server, Work]) -> None:
    server, work = own
    worker = work.worker()
    work.job()
    claim = work.claimed(worker)
    with work.store.write() as connection:
        assert workers.declare_lost(connection, work.now, worker, 0)
    seen = scraped(server)
    assert (seen["qmrunner_orphaned_attempts"], seen["qmrunner_workers_lost_total"]) == (1, 1)
    work.finish(claim, LOST)
    assert scraped(server)["qmrunner_orphaned_attempts"] == 0


def test_totals_are_the_same_however_the_history_is_cut(own: tuple[Server, Work]) -> None:
    _, work = own
    worker = work.worker()
    for verdict in (SUCCEED, REQUEUE, LOST, FAIL, SUCCEED):
        work.job()
        work.finish(work.claimed(worker), verdict)
    with work.store.read() as connection:
        rows = events.all_since(connection, 0, 1000)
    whole = Tally()
    whole.add(rows)
    for size in (1, 2, 7):
        cut = Tally()
        for start in range(0, len(rows), size):
            cut.add(rows[start : start + size])
        assert [family.samples for family in cut.families()] == [family.samples for family in whole.families()]
        assert cut.last == rows[-1]["id"]


def test_a_client_gets_its_share_and_then_waits_for_retry_after() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.take("a") for _ in range(60)] == [None] * 60
    assert rate.take("a") == 1
    assert rate.take("b") is None
    now[0] += 1
    assert rate.take("a") is None
    assert rate.take("a") == 1
    slow = Rate(1, lambda: now[0])
    assert slow.take("a") is None
    assert slow.take("a") == 60


def test_ever_new_clients_do_not_fill_the_memory_nor_lift_the_limit_of_one_that_asks_too_often() -> None:
    now = [0.0]
    rate = Rate(2, lambda: now[0])
    for number in range(25_000):
        now[0] += 0.01
        rate.take(f"client {number}")
    assert len(rate._left) <= 10_000
