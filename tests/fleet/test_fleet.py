"""The whole daemon on PostgreSQL and Redis: servers restarted, flushed and killed, and workers lost for good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from qmrunner.guardian import process_tree
from qmrunner.store.tables import events
from tests.lifecycle.lab import Lab
from tests.postgres import Server as Postgres
from tests.redis import Server as Redis
from tests.support import Daemon, Home, wait_for

DONE = [(1, "succeeded", "ok")]
LATE_XTB = str(Path(__file__).parents[1] / "stand_ins" / "late_xtb.sh")
_DEADLINE_S = 60.0


def times(lab: Lab, job: str, event: str) -> int:
    with lab.store.read() as connection:
        query = select(func.count()).where(events.c.job_id == job, events.c.event == event)
        return int(connection.execute(query).scalar_one())


def test_a_killed_daemon_finds_its_real_xtb_runs_again(lab: Lab) -> None:
    """Nothing is computed twice: the second daemon adopts what the first one started."""
    lab.home.extra |= {"QMRUNNER_XTB": LATE_XTB}
    first = lab.start()
    jobs = [lab.submit() for _ in range(3)]
    for job in jobs[:2]:
        lab.running(job, _DEADLINE_S)
    first.kill()
    lab.start()
    lab.open_gate()
    for job in jobs:
        assert lab.ended(job, _DEADLINE_S) == "succeeded"
        assert lab.attempts(job) == DONE
        assert lab.result(job)["energy_hartree"] is not None
    lab.nothing_left(*jobs)


def test_a_worker_lost_for_good_is_replaced_by_another(
    lab: Lab, shared: dict[str, str], tmp_path: Path, daemon: Callable[..., Daemon]
) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job, _DEADLINE_S)
    lab.home.end_processes()  # supervisor, spawner, consumer, guardian and engine: no process is left to report it
    second = Home(tmp_path / "second", shared)
    daemon(on=second)
    lab.open_gate()
    assert lab.ended(job, _DEADLINE_S) == "succeeded"
    assert lab.attempts(job) == [(1, "lost", "machine_lost"), (2, "succeeded", "ok")]
    assert lab.step(job).retries == 0
    assert lab.reserved() == 0


def test_postgresql_restarted_while_engines_compute_loses_nothing_and_commits_once(
    lab: Lab, database: Postgres
) -> None:
    daemon = lab.start()
    jobs = [lab.submit(gate=1), lab.submit(gate=1)]
    engines = [lab.running(job, _DEADLINE_S) for job in jobs]
    database.stop()
    assert all(process_tree.is_alive(engine) for engine in engines)
    lab.open_gate()  # both end while there is no store
    wait_for(
        lambda: not any(process_tree.is_alive(engine) for engine in engines), _DEADLINE_S, "the end of the engines"
    )
    wait_for(lambda: daemon.events("store_lost"), _DEADLINE_S, "the outage to be noticed")
    database.start()
    for job in jobs:
        assert lab.ended(job, _DEADLINE_S) == "succeeded"
        assert lab.attempts(job) == DONE
        assert times(lab, job, "attempt_succeeded") == 1
    assert daemon.running()
    assert daemon.events("consumer_died") == []
    lab.nothing_left(*jobs)


def test_a_redis_that_is_flushed_killed_and_back_only_delays(lab: Lab, cache: Redis) -> None:
    waiting = [lab.submit(seconds=0) for _ in range(2)]
    cache.client().flushall()
    daemon = lab.start()
    for job in waiting:
        assert lab.ended(job, _DEADLINE_S) == "succeeded"
    cache.kill()
    without = [lab.submit(seconds=0) for _ in range(3)]  # accepted, and found by the beat
    for job in without:
        assert lab.ended(job, _DEADLINE_S) == "succeeded"
    cache.start()
    back = [lab.submit(seconds=0) for _ in range(2)]
    for job in back:
        assert lab.ended(job, _DEADLINE_S) == "succeeded"
    for job in [*waiting, *without, *back]:
        assert lab.attempts(job) == DONE
    assert daemon.events("consumer_died") == []
    assert "s:e/c@ret" not in daemon.text()


def test_a_worker_without_redis_hears_what_another_machine_submits_by_its_beat(
    lab: Lab, cache: Redis, shared: dict[str, str], tmp_path: Path
) -> None:
    lab.start()
    cache.kill()
    elsewhere = Home(tmp_path / "elsewhere", shared)
    structure = tmp_path / "water.xyz"
    structure.write_text("3\nseconds=0\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    job = elsewhere.json("submit", "xtb", str(structure))["id"]
    assert lab.ended(job, _DEADLINE_S) == "succeeded"


def test_an_identical_step_does_not_wait_for_one_whose_result_may_be_out_of_reach(
    lab: Lab, shared: dict[str, str], tmp_path: Path, daemon: Callable[..., Daemon]
) -> None:
    """Without an artifact store no machine knows what another machine's folders hold."""
    lab.home.extra |= {"QMRUNNER_REUSE": "on", "QMRUNNER_SLOTS": "1"}
    lab.start()
    first = lab.submit(gate=1)
    lab.running(first, _DEADLINE_S)
    daemon(on=Home(tmp_path / "other", {**shared, "QMRUNNER_REUSE": "on", "QMRUNNER_SLOTS": "1"}))
    second = lab.home.json("submit", "xtb", str(tmp_path / "mol1.xyz"))["id"]
    lab.running(second, _DEADLINE_S)
    lab.open_gate()
    assert lab.ended(first, _DEADLINE_S) == lab.ended(second, _DEADLINE_S) == "succeeded"
    assert lab.attempts(second) == DONE


def test_a_job_waits_for_a_label_and_reports_it_until_such_a_worker_comes(
    lab: Lab, shared: dict[str, str], tmp_path: Path, daemon: Callable[..., Daemon]
) -> None:
    lab.start()
    structure = tmp_path / "water.xyz"
    structure.write_text("3\nseconds=0\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
    asked = ("--require", "big-memory", "--require", "ssd")
    job = lab.home.json("submit", "xtb", str(structure), *asked)["id"]
    text = "a worker with the labels big-memory, ssd (QMRUNNER_LABELS): none is running"
    assert lab.home.json("why", job)["waits_for"] == text
    seen = lab.home.json("status", job)["job"]
    assert seen["steps"][0]["waits_for"] == text
    assert seen["owner"]
    assert seen["requires"] == ["big-memory", "ssd"]
    large = daemon(on=Home(tmp_path / "large", {**shared, "QMRUNNER_LABELS": "ssd,big-memory"}))
    assert lab.ended(job, _DEADLINE_S) == "succeeded"
    (started,) = wait_for(lambda: large.events("step_started"), 20.0, "what the other daemon says of it")
    assert started["worker"] == "tester"
    told = json.loads(lab.home.run("status", "--json").stdout)["workers"]
    assert [row["labels"] for row in told] == [[], ["big-memory", "ssd"]]
