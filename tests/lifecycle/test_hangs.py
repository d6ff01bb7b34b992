"""A step that hangs is ended with evidence and tried again; one that lives, however quietly, is left alone."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.reports import why
from tests.lifecycle.lab import STAND_IN, Lab, gone
from tests.support import wait_for

ENGINE = STAND_IN.parent / "still_xtb.sh"
# Bounds for tests: a stopped, an idle, a computing step.
FLOOR, QUIET, BUSY = "QMRUNNER_HANG_FLOOR_SECONDS", "QMRUNNER_HANG_QUIET_SECONDS", "QMRUNNER_HANG_BUSY_SECONDS"
NEVER = "1000000"


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.home.extra |= {"QMRUNNER_XTB": str(ENGINE), FLOOR: NEVER, QUIET: NEVER, BUSY: NEVER}
    return lab


def report(lab: Lab, job: str, number: int = 1) -> str:
    return (lab.home.settings.logs_root / job / f"xtb.{number}.hang.txt").read_text()


def attempts(lab: Lab, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = why.view(lab.app, job)["attempts"]
    return found


def still_until(lab: Lab, job: str, kind: str | None) -> None:
    """Until `status` shows that the step stalls, or does not any more."""
    wait_for(lambda: lab.home.job(job)["steps"][0]["progress"].get("stillness") == kind, 20.0, f"a step seen as {kind}")


def left_alone(lab: Lab, job: str) -> None:
    """It ended well at the first try, and no search for a reason to end it had begun."""
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == [(1, "succeeded", "ok")]
    assert list(lab.home.settings.logs_root.glob("*/*.hang.txt")) == []


def compute(engine: Identity, cpu_s: float) -> None:
    """Until the engine has used so much CPU."""

    def used() -> bool:
        stat = process_tree.stat_of(engine.pid)
        return stat is not None and (stat.utime + stat.stime) / process_tree.TICKS_PER_SECOND >= cpu_s

    wait_for(used, 60.0, f"{cpu_s:g} s of CPU")


@pytest.mark.parametrize(
    ("still", "settings", "told"),
    [
        ("stop", {FLOOR: "1"}, "stopped (state T): process"),
        ("idle", {QUIET: "3", FLOOR: "1"}, "idle: process"),
        ("spin", {BUSY: "4", FLOOR: "1"}, "spinning: process"),
    ],
)
def test_a_step_that_hangs_is_ended_and_tried_again(lab: Lab, still: str, settings: dict[str, str], told: str) -> None:
    running = lab.start(**settings)
    job = lab.submit(still=still, hangs=1)
    engine = lab.running(job)
    assert lab.ended(job, 40.0) == "succeeded"
    gone(engine)
    assert lab.attempts(job) == [(1, "failed", "hung"), (2, "succeeded", "ok")]
    assert lab.step(job).retries == 1
    assert report(lab, job).startswith(f"hung: {told}")
    assert attempts(lab, job)[0]["summary"] == report(lab, job).splitlines()[0].removeprefix("hung: ")
    (event,) = running.told("step_hung")
    assert event["evidence"].startswith(told)
    assert Path(event["report"]).is_file()
    lab.nothing_left(job)


def test_a_step_that_hangs_again_and_again_fails_and_the_report_reports_states_and_waits_of_all_processes(
    lab: Lab,
) -> None:
    lab.start(**{FLOOR: "1", "QMRUNNER_MAX_RETRIES": "1"})
    job = lab.submit(still="stop")
    engine = lab.running(job)
    assert lab.ended(job, 60.0) == "failed"
    assert lab.attempts(job) == [(1, "failed", "hung"), (2, "failed", "hung")]
    told = why.view(lab.app, job)
    assert (told["code"], told["class"]) == ("hung", "transient")
    assert told["evidence"]["text"].startswith("stopped (state T): process")
    assert (told["evidence"]["file"], told["evidence"]["line"]) == ("xtb.2.hang.txt", 1)
    assert "stopped the process" in told["remedy"]
    text = report(lab, job, 1)
    assert text != report(lab, job, 2)
    row = next(line for line in text.splitlines() if line.startswith(f"{engine.pid} "))
    assert row.split()[2] == "T"
    assert "State:\tT (stopped)" in text
    assert "voluntary_ctxt_switches" in text
    assert "kernel stack" in text
    assert "stack of process" in text or "neither gdb nor py-spy is installed" in text


def test_a_step_that_stalls_is_shown_so_before_it_is_called_hung(lab: Lab) -> None:
    lab.start(**{FLOOR: "600"})
    job = lab.submit(still="stop", hangs=1)
    engine = lab.running(job)
    still_until(lab, job, "stopped")
    assert "no progress" in lab.home.json("why", job)["summary"]
    assert process_tree.send(engine, signal.SIGCONT)
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == [(1, "succeeded", "ok")]


@pytest.mark.slow
def test_a_silent_step_that_computes_is_left_alone(lab: Lab) -> None:
    lab.start(**{FLOOR: "0.5", QUIET: "0.5"})
    job = lab.submit(still="busy")
    compute(lab.running(job), 4.0)
    lab.open_gate()
    left_alone(lab, job)


@pytest.mark.slow
def test_the_watch_can_be_switched_off(lab: Lab) -> None:
    running = lab.start(**{FLOOR: "0.5", "QMRUNNER_HANG_WATCH": "off"})
    job = lab.submit(still="stop")
    engine = lab.running(job)
    other = lab.submit(still="busy")
    compute(lab.running(other), 4.0)
    assert process_tree.is_alive(engine)
    assert running.events("step_hung") == []


# -- the daemon itself is frozen --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_consumer_that_was_frozen_for_longer_than_the_bound_condemns_no_step(lab: Lab) -> None:
    lab.start(**{QUIET: "8"})
    job = lab.submit(still="sleepy")
    lab.running(job)
    still_until(lab, job, "idle")
    consumer = lab.child("consumer")
    assert process_tree.send(consumer, signal.SIGSTOP)
    passed(9.0)
    assert process_tree.send(consumer, signal.SIGCONT)
    passed(4.0)  # two looks of the guardian
    lab.open_gate()
    left_alone(lab, job)


def passed(seconds: float) -> None:
    """Until so much time has gone by: of a freeze there is nothing else to wait for."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, 2 * seconds)


@pytest.mark.slow
def test_a_store_that_is_locked_for_longer_than_the_bound_condemns_no_step(lab: Lab) -> None:
    lab.start(**{FLOOR: "1", QUIET: "1"})
    job = lab.submit(still="busy")
    engine = lab.running(job)
    with closing(sqlite3.connect(lab.home.path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        compute(engine, 4.0)
        other.execute("ROLLBACK")
    lab.open_gate()
    left_alone(lab, job)
