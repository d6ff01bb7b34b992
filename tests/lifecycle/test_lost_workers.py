"""Two workers on one store: what becomes of the one that stops beating."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner.guardian import process_tree
from tests.support import Daemon, Home, wait_for

STAND_INS = Path(__file__).parents[1] / "stand_ins"
WATER = "3\nwater\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Home, Home]:
    """Two homes that share store, results, scratch and logs, as two machines on a common disk would."""
    shared = {
        "QMRUNNER_STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "QMRUNNER_JOBS": str(tmp_path / "jobs"),
        "QMRUNNER_SCRATCH": str(tmp_path / "scratch"),
        "QMRUNNER_LOGS": str(tmp_path / "logs"),
        "QMRUNNER_XTB": str(STAND_INS / "late_xtb.sh"),
        "STAND_IN_SECONDS": "20",
    }
    return Home(tmp_path / "first", shared), Home(tmp_path / "second", shared)


def submit(home: Home, **more: str) -> str:
    structure = home.path.parent / "water.xyz"
    structure.write_text(WATER)
    return str(home.json("submit", "xtb", str(structure), **more)["id"])


def running(home: Home, job: str) -> dict[str, Any] | None:
    step = home.job(job)["steps"][0]
    return step if step["state"] == "running" else None


def family(daemon: Daemon) -> list[int]:
    """Supervisor, spawner and consumer, without the guardians."""
    return [daemon.pid, *process_tree.children_of(daemon.pid)]


def test_a_worker_frozen_past_its_lease_commits_nothing_when_thawed_and_its_tree_is_ended(
    pair: tuple[Home, Home], daemon: Callable[..., Daemon]
) -> None:
    first, second = pair
    frozen = daemon(on=first)
    job = submit(first)
    old = wait_for(lambda: running(first, job), what="the first attempt")
    assert old is not None
    members = family(frozen)
    other = daemon(on=second, STAND_IN_SECONDS="0.1")
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
    try:
        done = wait_for(lambda: home_done(second, job), 60.0, "the second attempt's success")
        engine_lives = process_tree.stat_of(old["engine_pid"])
        assert engine_lives is None or engine_lives.state in "ZX"
        result = Path(second.settings.jobs_root, job, "result.json").read_bytes()
    finally:
        for pid in members:
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: frozen.events("worker_fenced"), 20.0, "the thawed worker to see that it was fenced off")
    wait_for(lambda: len(frozen.events("consumer_started")) == 2, 20.0, "its new beginning")
    assert Path(second.settings.jobs_root, job, "result.json").read_bytes() == result
    assert [step["attempt"] for step in first.job(job)["steps"]] == [2]
    assert done["attempts"] == 2
    assert other.running()


def home_done(home: Home, job: str) -> dict[str, Any] | None:
    seen = home.job(job)
    if seen["state"] != "succeeded":
        return None
    return {"attempts": seen["steps"][0]["attempt"]}


def test_a_worker_whose_consumer_keeps_dying_is_not_taken_for_lost(
    pair: tuple[Home, Home], daemon: Callable[..., Daemon]
) -> None:
    """Its engines live in their guardians, and the supervisor beats for it."""
    first, second = pair
    one = daemon(on=first, STAND_IN_SECONDS="6")
    job = submit(first)
    step = wait_for(lambda: running(first, job), what="the attempt")
    assert step is not None
    daemon(on=second)
    for _ in range(3):
        before = len(one.events("consumer_died"))
        consumer = wait_for(lambda: consumer_of(one), what="a consumer")
        os.kill(consumer, signal.SIGKILL)
        wait_for(lambda seen=before: len(one.events("consumer_died")) > seen, what="the death to be noticed")
    wait_for(lambda: home_done(first, job), 40.0, "the end of the job")
    assert home_done(first, job) == {"attempts": 1}
    assert not one.events("worker_fenced")


def consumer_of(daemon: Daemon) -> int | None:
    for pid in process_tree.children_of(daemon.pid):
        stat = process_tree.stat_of(pid)
        if stat is not None and stat.comm == "qm-consumer":
            return pid
    return None
