"""Stop, drain and cancel: no process stays, no retry is spent, and it does not take longer than it may."""

from __future__ import annotations

import signal
import time

from qmrunner.guardian import process_tree
from tests.lifecycle.lab import Lab, gone
from tests.support import wait_for


def test_a_stop_during_a_job_leaves_no_process_and_spends_no_retry(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 5.0  # the stop grace
    assert not process_tree.is_alive(engine)
    assert lab.home.processes() == []
    assert lab.attempts(job) == [(1, "stopped", "stopped")]
    step = lab.step(job)
    assert (step.state, step.retries, step.not_before) == ("ready", 0, None)
    assert lab.state(job) == "running"
    assert lab.reserved() == 0
    lab.open_gate()
    lab.start()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == [(1, "stopped", "stopped"), (2, "succeeded", "ok")]
    assert lab.step(job).retries == 0
    lab.nothing_left(job)


def test_a_stop_ends_an_engine_that_ignores_term_within_the_grace(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1, stubborn=1, litter=1)
    engine = lab.running(job)
    wait_for(lambda: "cycle" in (lab.home.settings.logs_root / job / "xtb.1.log").read_text())
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 5.5
    assert not process_tree.is_alive(engine)
    assert lab.home.processes() == []
    assert lab.attempts(job) == [(1, "stopped", "stopped")]


def test_a_second_term_does_not_wait_for_the_grace(lab: Lab) -> None:
    first = lab.start(QMRUNNER_STOP_GRACE_SECONDS="30")
    job = lab.submit(gate=1, stubborn=1)
    engine = lab.running(job)
    wait_for(lambda: "cycle" in (lab.home.settings.logs_root / job / "xtb.1.log").read_text())
    first.signal(signal.SIGTERM)
    wait_for(lambda: first.events("drain_started"), 5.0)
    assert process_tree.is_alive(engine)
    began = time.monotonic()
    first.signal(signal.SIGTERM)
    assert first.process.wait(10) == 0
    assert time.monotonic() - began < 3.0
    assert lab.home.processes() == []
    assert lab.attempts(job) == [(1, "stopped", "stopped")]
    assert lab.step(job).retries == 0


def test_an_interrupt_from_the_terminal_is_a_drain_too(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    first.signal(signal.SIGINT)
    assert first.process.wait(10) == 0
    assert lab.attempts(job) == [(1, "stopped", "stopped")]
    assert lab.home.processes() == []


def test_a_stopping_worker_claims_nothing_more(lab: Lab) -> None:
    first = lab.start()
    jobs = [lab.submit(gate=1) for _ in range(3)]
    for job in jobs[:2]:
        lab.running(job)
    assert first.stop() == 0
    assert [len(lab.attempts(job)) for job in jobs] == [1, 1, 0]
    assert [lab.step(job).state for job in jobs] == ["ready"] * 3


def test_a_stop_of_an_idle_daemon_is_quick(lab: Lab) -> None:
    first = lab.start()
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 3.0
    assert lab.home.processes() == []


def test_a_stop_with_a_frozen_consumer_still_ends_everything(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    assert process_tree.send(lab.child("consumer"), signal.SIGSTOP)
    began = time.monotonic()
    first.stop()
    assert time.monotonic() - began < 9.0
    assert not process_tree.is_alive(engine)
    assert lab.home.processes() == []
    lab.start()
    wait_for(lambda: len(lab.attempts(job)) == 2, 15.0, "the next attempt")
    assert lab.attempts(job)[0][1] in ("stopped", "lost")
    assert lab.step(job).retries == 0


def test_a_cancelled_job_ends_with_its_whole_tree(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1, litter=1)
    engine = lab.running(job)
    lab.move("cancel", job)
    gone(engine)
    assert lab.ended(job) == "cancelled"
    assert lab.attempts(job) == [(1, "cancelled", "cancelled")]
    lab.nothing_left(job)
    assert not (lab.home.settings.jobs_root / job / "xtb").exists()


def test_cancelling_reaches_an_engine_that_ignores_term(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1, stubborn=1)
    engine = lab.running(job)
    wait_for(lambda: "cycle" in (lab.home.settings.logs_root / job / "xtb.1.log").read_text())
    lab.move("cancel", job)
    gone(engine)
    assert lab.ended(job) == "cancelled"
    lab.nothing_left(job)


def test_a_job_cancelled_while_no_daemon_runs_does_not_come_back(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    first.kill()
    lab.move("cancel", job)
    lab.start()
    gone(engine, 8.0)
    assert lab.ended(job) == "cancelled"
    lab.nothing_left(job)


def test_a_cancelled_job_can_be_retried(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    lab.move("cancel", job)
    assert lab.ended(job) == "cancelled"
    lab.open_gate()
    lab.move("retry", job)
    wait_for(lambda: lab.state(job) == "succeeded", 10.0, "success")
    assert lab.attempts(job) == [(1, "cancelled", "cancelled"), (2, "succeeded", "ok")]


def test_a_job_held_while_it_runs_ends_once_it_is_released(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    lab.move("hold", job)
    lab.open_gate()
    wait_for(lambda: lab.attempts(job)[0][1] == "succeeded", 8.0, "the running step goes on to its end")
    if lab.state(job) == "held":
        lab.move("release", job)
    assert lab.ended(job) == "succeeded"
    lab.nothing_left(job)
