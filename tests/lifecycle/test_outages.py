"""Store, queue and files taken away under a running daemon: no worker is declared lost, nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import insert, select

from qmrunner.guardian import process_tree
from qmrunner.store.tables import attempts, events, jobs, reservations, steps, workers
from tests.lifecycle.lab import Lab
from tests.support import wait_for

DONE = [(1, "succeeded", "ok")]


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """A stranger holds the write lock of the store."""
    foreign = sqlite3.connect(lab.home.path / "store.db", timeout=10.0, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        foreign.execute("ROLLBACK")
        foreign.close()


def times(lab: Lab, job: str, event: str) -> int:
    with lab.store.read() as connection:
        query = select(events.c.id).where(events.c.job_id == job, events.c.event == event)
        return len(connection.execute(query).all())


def test_a_queue_deleted_during_a_run_loses_nothing(lab: Lab) -> None:
    lab.start()
    running = [lab.submit(gate=1), lab.submit(gate=1)]
    waiting = [lab.submit(seconds=0) for _ in range(3)]
    for job in running:
        lab.running(job)
    for path in lab.home.path.glob("queue.db*"):
        path.unlink()
    waiting.append(lab.submit(seconds=0))
    lab.open_gate()
    for job in [*running, *waiting]:
        assert lab.ended(job) == "succeeded"
        assert lab.attempts(job) == DONE
    lab.nothing_left(*running, *waiting)


def test_a_queue_deleted_between_two_daemons_loses_nothing(lab: Lab) -> None:
    waiting = [lab.submit(seconds=0) for _ in range(3)]
    for path in lab.home.path.glob("queue.db*"):
        path.unlink()
    lab.start()
    for job in waiting:
        assert lab.ended(job) == "succeeded"


def test_a_store_locked_for_longer_than_the_lease_condemns_no_worker_and_commits_once(lab: Lab) -> None:
    daemon = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    with locked(lab):
        lab.open_gate()  # the engine ends while nothing can be written
        end = time.monotonic() + 3.0  # the lease is 2 s
        wait_for(lambda: time.monotonic() > end, 8.0)
        assert lab.state(job) == "running"
        assert not process_tree.is_alive(engine)
        assert daemon.running()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    assert times(lab, job, "attempt_succeeded") == 1
    assert times(lab, job, "job_succeeded") == 1
    assert daemon.events("consumer_died") == []
    lab.nothing_left(job)


def test_a_daemon_killed_while_the_store_is_locked_commits_the_outcome_later(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    with locked(lab):
        lab.open_gate()
        wait_for(lambda: not process_tree.is_alive(engine), 8.0)
        first.kill()
    lab.start()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    assert times(lab, job, "attempt_succeeded") == 1


def test_a_stop_while_the_store_is_locked_ends_in_time_and_loses_nothing(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    with locked(lab):
        began = time.monotonic()
        first.stop()
        assert time.monotonic() - began < 8.0
        assert not process_tree.is_alive(engine)
        assert lab.home.processes() == []
    lab.open_gate()
    lab.start()
    assert lab.ended(job) == "succeeded"
    assert lab.step(job).retries == 0
    assert lab.attempts(job)[-1] == (2, "succeeded", "ok")


def test_a_job_folder_deleted_under_a_running_job_is_made_again_with_its_results(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    shutil.rmtree(lab.home.settings.jobs_root / job)
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.published_attempt(job) == 1
    assert lab.result(job)["id"] == job


def test_a_job_folder_deleted_before_its_step_starts_is_reported_by_name(lab: Lab) -> None:
    job = lab.submit(seconds=0)
    shutil.rmtree(lab.home.settings.jobs_root / job)
    lab.start()
    assert lab.ended(job) == "failed"
    step = lab.step(job)
    assert step.code == "input_missing"
    assert job in str(step.evidence)
    assert step.remedy


def test_scratch_deleted_under_a_running_job_ends_in_a_clear_state(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    shutil.rmtree(lab.home.settings.scratch_root / job)
    lab.open_gate()
    state = lab.ended(job, 25.0)
    assert state in ("succeeded", "failed")
    assert not process_tree.is_alive(engine)
    wait_for(lambda: not lab.marked(job), 5.0)
    assert lab.reserved() == 0
    if state == "succeeded":
        assert lab.published_attempt(job) == len(lab.attempts(job))


def test_a_log_deleted_under_a_running_job_does_not_pass_for_success(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    (lab.home.settings.logs_root / job / "xtb.1.log").unlink()
    lab.open_gate()
    assert lab.ended(job) == "failed"
    assert lab.step(job).code


@pytest.fixture
def thousand(lab: Lab) -> Any:
    """A thousand running attempts of a worker that is gone, as after a crash of the machine."""
    lab.submit(seconds=0)
    now = time.time()
    with lab.store.write() as connection:
        me = process_tree.myself().as_dict() | {"pid": 4_000_000, "start_ticks": 1}
        worker = connection.execute(
            insert(workers).values(
                name="gone", host="here", home_id=lab.app.home_id(), home=str(lab.home.path), state="active",
                slots=1000,
                cores=1000, memory_mib=1 << 20, beat=5, beat_at=now, created_at=now, version="0", **me,
            )
        ).inserted_primary_key[0]  # fmt: skip
        one_job = dict(connection.execute(select(jobs)).one()._mapping)
        one_step = dict(connection.execute(select(steps)).one()._mapping)
        for name in ("seq", "id"):
            one_job.pop(name), one_step.pop(name, None)
        made = []
        for i in range(1000):
            job = f"many{i:04d}"
            connection.execute(insert(jobs).values(**{**one_job, "id": job, "state": "running"}))
            step = connection.execute(
                insert(steps).values(
                    **{**one_step, "job_id": job, "state": "running", "attempt": 1, "worker_id": worker}
                )
            ).inserted_primary_key[0]
            made.append((step, job))
        connection.execute(
            insert(attempts),
            [
                {
                    "step_id": step, "number": 1, "job_id": job, "state": "running", "worker_id": worker,
                    "marker": f"{job}/xtb/1", "directory": str(lab.home.settings.scratch_root / job / "xtb" / "1"),
                    "log": str(lab.home.settings.logs_root / job / "xtb.1.log"), "progress": {}, "usage": {},
                    "granted": {"cores": 1, "memory_mib": 1, "scratch_mib": 1, "shm_mib": 0}, "notes": [],
                    "created_at": now,
                }
                for step, job in made
            ],
        )  # fmt: skip
        connection.execute(
            insert(reservations),
            [
                {"step_id": step, "attempt": 1, "worker_id": worker, "cores": 1, "memory_mib": 1, "scratch_mib": 1,
                 "shm_mib": 0}
                for step, _ in made
            ],
        )  # fmt: skip
    return lab


@pytest.mark.alone
def test_a_thousand_running_attempts_of_a_dead_worker_are_judged_in_five_seconds(thousand: Lab) -> None:
    lab = thousand
    daemon = lab.start()
    wait_for(lambda: daemon.events("dead_attempts_released"), 20.0, "the release")
    at = {name: _moment(daemon.events(name)[0]["time"]) for name in ("daemon_started", "dead_attempts_released")}
    assert at["dead_attempts_released"] - at["daemon_started"] < 8.0  # 5 s on an idle machine, less on a fast one
    with lab.store.read() as connection:
        left = connection.execute(
            select(attempts.c.step_id).where(attempts.c.state.in_(("claimed", "running")), attempts.c.number == 1)
        ).all()
    assert len(left) <= 2  # the job of before the crash
    assert lab.reserved() <= 2


def _moment(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_two_daemons_on_one_home_are_one_too_many(lab: Lab) -> None:
    first = lab.start()
    ended = lab.home.run("run")
    assert ended.returncode == 4
    assert "another daemon runs" in ended.stderr + ended.stdout
    assert first.running()
