"""Several consumers of one queue: two daemons and a plain Huey consumer; a worker that was frozen past its lease."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from qmrunner.guardian import process_tree
from tests import redis
from tests.apps import leftovers
from tests.apps.conftest import CONSUMER, Lab
from tests.sampling import share
from tests.support import Home, missing, wait_for

ENQUEUE = """
singles = [tasks.work(f'w{n}').id for n in range(10)]
pipes = [[one.id for one in huey.enqueue(tasks.work.s(f'p{n}').then(tasks.work_after, f'q{n}'))] for n in range(4)]
locked = [tasks.locked_work(f'l{n}').id for n in range(2)]
later = [tasks.work.schedule((f'e{n}',), delay=2).id for n in range(3)]
print(json.dumps([singles + locked + later, pipes]))
"""
JOBS = [f"{kind}{n}" for kind, count in (("w", 10), ("p", 4), ("q", 4), ("l", 2), ("e", 3)) for n in range(count)]
PIPE = ("'done'", "'done done'")
RUNNING_ON = ("qm-task", "qm-guardian", "sh", "sleep", "seq")  # what a freeze of a worker leaves running


@pytest.fixture(params=share(["sqlite", "redis", "postgres"], 3))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield f"postgres {request.getfixturevalue('postgres_database')}"
    elif request.param == "redis":
        with redis.server(tmp_path / "redis") as server:
            yield f"redis {server.url}"
    else:
        yield ""


def second_home(lab: Lab, **settings: str) -> Home:
    return Home(lab.folder / "other", {"QMRUNNER_WORKER_NAME": "other", **settings})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_daemons_and_a_plain_consumer_lose_and_double_nothing(lab: Lab, place: str) -> None:
    lab.environment = {"LAB_STORAGE": place} if place else {}
    other = second_home(lab)
    lab.start(**lab.environment)
    with lab.plain(CONSUMER, lab.folder / "plain.out"):
        second = lab._start(on=other, arguments=("--", *CONSUMER), **lab.environment)
        wait_for(lambda: second.events("app_ready"), 60.0, "the second application")
        singles, pipes = json.loads(lab._run(ENQUEUE))  # now: the others alone would soon have done it all
        expected = dict.fromkeys(singles, "'done'")
        expected |= {huey_id: value for pipe in pipes for huey_id, value in zip(pipe, PIPE, strict=True)}
        wait_for(lambda: second.events("task_accepted"), 60.0, "a task of the second daemon")
        other.end_processes()  # all at once, in the middle of its work
        second = lab._start(on=other, arguments=("--", *CONSUMER), **lab.environment)
        for huey_id, value in expected.items():
            wait_for(lambda one=huey_id, value=value: lab.read_result(one) == value, 180.0, f"the result of {huey_id}")
        wait_for(lambda: leftovers.of(lab) == {}, 30.0, "empty areas")
        ran = {job: len(lab.lines(job)) for job in JOBS}
        assert all(times >= 1 for times in ran.values())
        assert sum(times - 1 for times in ran.values()) <= 1  # only the task that was killed in its body
        states = {job["state"] for home in (lab.home, other) for job in home.json("status")["jobs"]}
        assert states <= {"succeeded", "failed"}  # tries of `locked_work` that met the plain consumer's lock
        assert (lab.folder / "plain.out").read_bytes().count(b"executed in") >= 1


def end_open_transactions(database: str) -> None:
    """A process that is frozen inside a transaction holds its locks until the server ends its session, which it does
    after two minutes."""
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and state like 'idle in transaction%'"
        )


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("queue", share(["sqlite", "postgres"], 2))
def test_the_late_outcome_of_a_frozen_worker_is_not_reported(lab: Lab, queue: str, postgres_database: str) -> None:
    own_pids = ("unshare", "--fork", "--pid", "--kill-child", "--mount-proc")
    if subprocess.run([*own_pids, "true"], capture_output=True, check=False).returncode:
        missing("this user may not make a pid namespace")  # which looks like another machine
    lab.environment = {"LAB_STORAGE": f"postgres {postgres_database}"} if queue == "postgres" else {}
    settings = {"QMRUNNER_STORE_URL": postgres_database, **lab.environment}
    huey_id = lab.enqueue("tasks.optimise('late', 6)")
    first = lab.start(before=own_pids, ready=False, **settings)
    wait_for(lambda: lab.lines("late"), 60.0, "the first body")
    stopped = [pid for pid in lab.home.processes() if (s := process_tree.stat_of(pid)) and s.comm not in RUNNING_ON]
    for pid in stopped:  # at once: the body is not to end while its worker can still report it
        os.kill(pid, signal.SIGSTOP)
    end_open_transactions(postgres_database)
    second = lab._start(on=second_home(lab), arguments=("--", *CONSUMER), ready=False, **settings).wait_ready(60.0)
    wait_for(lambda: [line.split()[1] for line in lab.lines("late")].count("begin") == 2, 60.0, "the second body")
    wait_for(lambda: list(lab.home.path.glob("scratch/*/task/1/work/outcome")), 60.0, "the first outcome")
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    log = lab.home.settings.run_root / "events.jsonl"
    wait_for(lambda: '"worker_fenced"' in log.read_text(), 60.0, "the frozen worker to notice")
    wait_for(lambda: lab.read_result(huey_id), 60.0, "the result")
    wait_for(lambda: leftovers.of(lab) == {}, 30.0, "empty areas")
    wait_for(lambda: lab.home.json("status", huey_id, **settings)["job"]["state"] == "succeeded", 30.0, "the end")
    assert lab.states("late") == ["running", "running", "complete"]
    attempts = lab.home.json("why", huey_id, **settings)["attempts"]
    assert [attempt["state"] for attempt in attempts] == ["lost", "succeeded"]
    assert first.running()
    assert second.running()
