"""The home's disk fills up and has room again: every thread lives, what ended is committed, `health` names the
cause."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmrunner.supervisor.health import examine
from tests.lifecycle.lab import STAND_IN, Lab
from tests.support import Daemon, Home, ended_daemons, tmpfs, wait_for


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk for the home alone; scratch is elsewhere."""
    with tmpfs(tmp_path / "small", 48) as path:
        yield path


@pytest.fixture
def full(small: Path, tmp_path: Path) -> Iterator[tuple[Lab, Daemon, Path]]:
    """A daemon with a running engine whose home's disk then has not one page left, and what fills it."""
    home = Home(small / "home", {
        "QMRUNNER_SCRATCH": str(tmp_path / "scratch"),
        "QMRUNNER_LOGS": str(tmp_path / "logs"),
        "QMRUNNER_XTB": str(STAND_IN),
        "QMRUNNER_BALLAST_MIB": "0",
        "QMRUNNER_OUTAGE_GRACE_SECONDS": "600",
        "STAND_IN_GATE": str(tmp_path / "gate"),
    })  # fmt: skip
    with ended_daemons(home) as start:
        lab = Lab(home, start)
        daemon = start()
        job = lab.submit(gate=1)
        wait_for(lambda: lab.home.job(job)["steps"][0]["state"] == "running", what="a running engine")
        filler = small / "filler"
        fill(filler)
        yield lab, daemon, filler
        lab.close()


def fill(filler: Path) -> None:
    """To the last page, and again for what has been given back meanwhile."""
    with open(filler, "ab", buffering=0) as file:
        for size in (1 << 20, 4096, 4096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def threads(pid: int) -> set[str]:
    """Kernel names are cut at 15 characters, and all threads of one process have its name: count them instead."""
    return set(os.listdir(f"/proc/{pid}/task"))


def consumer(home: Home) -> int:
    found: dict[str, Any] = examine(home.settings)["children"]["consumer"]
    assert found["pid"]
    return int(found["pid"])


def test_a_disk_that_was_full_and_is_free_again_finds_every_thread_and_commits_what_ended(
    full: tuple[Lab, Daemon, Path],
) -> None:
    lab, daemon, filler = full
    home = lab.home
    (job,) = wait_for(lambda: [one["job"] for one in daemon.events("step_started")], 10, "the event of the start")
    before = consumer(home)
    alive = {pid: threads(pid) for pid in (daemon.pid, before)}
    # Long enough for every loop to have met it: beats of 0.2 s, looks of a second, sweeps and the judge.
    told = wait_for(lambda: examine(home.settings)["reason"], 20, "health to notice")
    assert "store" in told or "disk" in told
    lab.open_gate()
    wait_for(lambda: ended_engines(lab), 15, "the engine to end")
    for _ in range(5):
        fill(filler)
        wait_for(lambda: not examine(home.settings)["healthy"], 5)
        os.sched_yield()
    filler.unlink()
    wait_for(lambda: examine(home.settings)["healthy"], 30, "a healthy daemon")
    assert lab.ended(job, 30) == "succeeded"
    assert lab.attempts(job) == [(1, "succeeded", "ok")]
    again = lab.submit()
    assert lab.ended(again, 30) == "succeeded"
    # The same processes, and of their threads none has ended.
    assert daemon.running()
    assert consumer(home) == before
    for pid, names in alive.items():
        lasting = names & threads(pid)
        assert len(lasting) >= len(names) - 2, "only errands may have ended"
    assert not daemon.events("consumer_died")
    assert not daemon.events("consumer_silent")
    lab.nothing_left(job, again)
    assert daemon.stop() == 0


def ended_engines(lab: Lab) -> bool:
    """Whether the only engine has left its exit record."""
    return any(Path(lab.home.settings.scratch_root).glob("*/*/*/exit.json"))


@pytest.mark.slow
def test_while_the_disk_is_full_no_process_is_killed_for_silence_and_health_names_the_disk(
    full: tuple[Lab, Daemon, Path],
) -> None:
    lab, daemon, filler = full
    home = lab.home

    def named() -> bool:
        fill(filler)
        report = examine(home.settings)
        assert report["supervisor_age_s"] is None or report["supervisor_age_s"] < 20
        return "has not been able to write" in (report["reason"] or "")

    wait_for(named, 40, "the disk as the reason")
    assert home.run("health").returncode == 4
    filler.unlink()
    wait_for(lambda: examine(home.settings)["healthy"], 30, "a healthy daemon")
    lab.open_gate()
    assert daemon.stop() == 0


@pytest.mark.parametrize("output", ["/dev/full", "closed"])
def test_the_daemon_works_without_a_stdout_and_a_stderr_that_take_anything(
    home: Home, tmp_path: Path, output: str
) -> None:
    home.extra["QMRUNNER_XTB"] = str(STAND_IN)
    before = ["sh", "-c", 'exec "$@" >/dev/full 2>&1' if output == "/dev/full" else 'exec "$@" >&- 2>&-', "sh"]
    with ended_daemons(home) as start:
        daemon = start(before=before)
        taken = {os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in (1, 2)}
        assert taken == {"/dev/full" if output == "/dev/full" else "/dev/null"}
        lab = Lab(home, start)
        job = lab.submit(chat=1)
        assert lab.ended(job, 30) == "succeeded"
        assert daemon.stop() == 0
        lab.nothing_left(job)
        lab.close()
