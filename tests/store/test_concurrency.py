"""Transactions that meet: claims of several workers, and two steps of one job that end at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from qmrunner.model.jobs import Job, Plan, Step
from qmrunner.store import claims, ready_steps, schema
from qmrunner.store.session import Store, StoreUnavailable
from tests.store.work import BIG, CHAIN, ONE, PATHS, SUCCEED, Staged, Work, Workflow, spec
from tests.support import together, wait_for

JOBS = 60
# A worker in a separate process: claims until nothing is left, and prints what it got.
_CLAIMER = """
import sys
from qmrunner.model.packing import Capacity
from qmrunner.store import claims
from qmrunner.store.session import Store
from tests.store.work import NOW, PATHS
store, worker, capacity = Store(sys.argv[1]), int(sys.argv[2]), Capacity(1000, 1000, 10**6)
with store.read() as connection:
    pass
print("ready", flush=True)
sys.stdin.readline()
idle = 0
while idle < 20:
    with store.write() as connection:
        got = claims.claim(connection, NOW, worker, capacity, PATHS)
    idle = 0 if got else idle + 1
    if got:
        print(got.step.id, flush=True)
"""


def _race(url: str, workers: list[int]) -> list[int]:
    """The ids of all steps that processes of these workers claimed."""
    answers = together(_CLAIMER, *[(url, str(worker)) for worker in workers])
    return [int(line) for answer in answers for line in answer.split()]


def test_two_processes_that_claim_at_once_share_all_steps_and_none_goes_twice(work: Work, store_url: str) -> None:
    workers = [work.worker(home_id="one"), work.worker(home_id="two")]
    for _ in range(JOBS):
        work.job(Workflow(spec("a"), spec("b")))
    got = _race(store_url, workers)
    assert sorted(got) == sorted(row["step_id"] for row in work.attempts())
    assert len(got) == len(set(got)) == 2 * JOBS


@pytest.mark.alone
def test_claims_never_wait_for_each_other_on_postgresql(postgres_store: tuple[Work, str]) -> None:
    """Every wait for a lock would be an error: none may take longer than five milliseconds."""
    work, url = postgres_store
    workers = [work.worker(home_id=home) for home in ("one", "two", "three")]
    for _ in range(JOBS):
        work.job(Workflow(spec("a"), spec("b")))
    impatient = make_url(url).update_query_dict({"options": "-c lock_timeout=5ms"})
    got = _race(impatient.render_as_string(hide_password=False), workers)
    assert len(got) == len(set(got)) == 2 * JOBS


def test_a_claim_leaves_alone_what_another_is_taking_and_takes_the_next(postgres_store: tuple[Work, str]) -> None:
    work, _ = postgres_store
    first, second = work.worker(home_id="one"), work.worker(home_id="two")
    jobs = [work.job(), work.job()]
    with work.store.write() as connection:
        claim = claims.claim(connection, work.now, first, BIG, PATHS)
        assert claim
        other = work.claimed(second)  # while the first has not committed
    assert [claim.job.id, other.job.id] == jobs
    assert work.claim(first) is None


def test_steps_of_one_running_job_are_claimed_side_by_side(postgres_store: tuple[Work, str]) -> None:
    work, _ = postgres_store
    first, second = work.worker(home_id="one"), work.worker(home_id="two")
    work.job(Workflow(spec("a"), spec("b"), spec("c")))
    work.claimed(first)
    with work.store.write() as connection:
        claim = claims.claim(connection, work.now, first, BIG, PATHS)
        assert claim
        assert (claim.step.name, work.claimed(second).step.name) == ("b", "c")


def test_the_last_two_steps_before_a_third_that_end_at_once_make_it_ready(work: Work) -> None:
    """Each commit must see the other, or the third step would wait for ever."""
    fan = Workflow(spec("a"), spec("b"), spec("c", ["a", "b"]))
    worker, job = work.worker(), work.job(fan)
    one, two = work.claimed(worker), work.claimed(worker)
    meeting = threading.Barrier(2)

    class Met(Workflow):
        """Continues once both commits are at this point, or one of them is kept from it by the other."""

        def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
            with suppress(threading.BrokenBarrierError):
                meeting.wait(1.0)
            return super().__call__(job, steps)

    with ThreadPoolExecutor(2) as threads:
        ended = [threads.submit(work.finish, claim, SUCCEED, Met(*fan.specs)) for claim in (one, two)]
        assert sorted(str(one.result(30)) for one in ended) == ["0", "1"]
    assert work.state(job)[1] == {"a": "succeeded", "b": "succeeded", "c": "ready"}


def test_the_last_two_steps_of_a_stage_that_end_at_once_let_the_job_continue(work: Work) -> None:
    """Each end leaves the plan to the last one: if both saw the other as open, no process would plan."""
    worker, job = work.worker(), work.job(Staged(2))
    one, two = work.claimed(worker), work.claimed(worker)
    meeting = threading.Barrier(2)

    class Met(Staged):
        def waits_for_all(self, job: Job, stage: str) -> bool:
            with suppress(threading.BrokenBarrierError):
                meeting.wait(1.0)
            return super().waits_for_all(job, stage)

    with ThreadPoolExecutor(2) as threads:
        ended = [threads.submit(work.finish, claim, SUCCEED, Met(2)) for claim in (one, two)]
        assert sorted(str(one.result(30)) for one in ended) == ["0", "1"]
    assert work.state(job)[1] == {"a0": "succeeded", "a1": "succeeded", "b": "ready"}


def test_a_cancellation_that_meets_the_end_of_a_step_leaves_nothing_ready(work: Work) -> None:
    worker, job = work.worker(), work.job(CHAIN)
    claim = work.claimed(worker)
    begun, asked = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        asked.wait(1.0)

    with ThreadPoolExecutor(2) as threads:
        finished = threads.submit(work.finish, claim, SUCCEED, CHAIN, publish=slow)
        begun.wait(20)
        cancelled = threads.submit(work.ask, "cancel", job)
        assert finished.result(30) == 1
        cancelled.result(30)
    assert work.state(job) == ("cancelled", {"a": "succeeded", "b": "cancelled", "c": "cancelled"})


def test_processes_that_make_the_schema_at_once_make_one(store_url: str) -> None:
    stores = [Store(store_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(schema.upgrade, stores))
    assert {schema.status(store) for store in stores} == {"current"}
    for store in stores:
        store.close()


def test_a_look_at_what_is_ready_in_a_new_store_reads_no_table_again_and_again(
    postgres_store: tuple[Work, str],
) -> None:
    """Before the server has any statistics: then it would read all jobs for each of the steps."""
    work, _ = postgres_store
    for _ in range(600):
        work.job()
    asked: list[tuple[str, Any]] = []
    event.listen(work.store.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    with work.store.read() as connection:
        assert len(ready_steps.best(connection, time.time())) == 64
        statement, values = next(one for one in asked if "passed_over" in one[0])
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", values)]
    scans = [line for line in plan if "Seq Scan" in line and "never executed" not in line]
    assert all("loops=1)" in line for line in scans), "\n".join(plan)


def test_a_server_that_waits_for_a_lock_is_left_in_time(postgres_store: tuple[Work, str]) -> None:
    work, url = postgres_store
    work.job(ONE)
    impatient = Store(url, busy_seconds=0.2)
    with work.store.write() as connection:
        connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))

        def look() -> None:
            with impatient.read() as other:
                other.execute(text("SELECT count(*) FROM jobs"))

        with ThreadPoolExecutor(1) as threads, pytest.raises(StoreUnavailable):
            threads.submit(look).result(30)
    impatient.close()


def test_all_machines_read_one_clock(postgres_store: tuple[Work, str]) -> None:
    """The server's: rows written by machines whose clocks differ by an hour are in one order."""
    work, url = postgres_store
    here, there = work.store, Store(url)
    with here.read() as connection, there.read() as other:
        server = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        assert other.execute(text("SELECT 1")).scalar() == 1
        assert wait_for(lambda: abs(here.now() - server) < 5.0)
        assert abs(there.now() - here.now()) < 1.0
    there.close()
