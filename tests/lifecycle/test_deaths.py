"""Pull any plug: what was running is adopted, resumed or tried again, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from qmrunner.guardian import process_tree
from tests.lifecycle.lab import Lab, gone, kill
from tests.support import wait_for

DONE = [(1, "succeeded", "ok")]


def test_an_undisturbed_job_succeeds_at_the_first_attempt(lab: Lab) -> None:
    lab.start()
    job = lab.submit(seconds=0)
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    assert lab.published_attempt(job) == 1
    lab.nothing_left(job)


def test_a_killed_consumer_costs_no_attempt_and_no_engine(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    consumer = lab.child("consumer")
    kill(consumer)
    wait_for(lambda: lab.child("consumer") != consumer, 15.0, "a new consumer")
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    assert f"started {engine.pid} " in (lab.home.settings.logs_root / job / "xtb.1.log").read_text()
    lab.nothing_left(job)


def test_a_consumer_killed_again_and_again_costs_nothing_either(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    for _ in range(3):
        consumer = lab.child("consumer")
        kill(consumer)
        wait_for(lambda one=consumer: lab.child("consumer") != one, 15.0, "a new consumer")
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE


def test_a_killed_guardian_takes_its_tree_along_and_the_step_is_tried_again(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1, litter=1)
    engine = lab.running(job)
    below = [
        lab.guardian(job),
        *(i for stat in process_tree.descendants(engine.pid) if (i := process_tree.identity_of(stat.pid))),
    ]
    began = time.monotonic()
    kill(lab.guardian(job))
    for one in below:
        gone(one, 1.0)
    wait_for(lambda: lab.attempts(job)[0][1] == "lost", 5.0)
    assert time.monotonic() - began < 3.0
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == [(1, "lost", "guardian_lost"), (2, "succeeded", "ok")]
    assert lab.step(job).retries == 0
    assert lab.published_attempt(job) == 2
    lab.nothing_left(job)


def test_a_killed_spawner_disturbs_no_engine_and_the_next_job_runs(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    kill(lab.child("spawner"))
    second = lab.submit(seconds=0)
    assert lab.ended(second) == "succeeded"
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == lab.attempts(second) == DONE
    lab.nothing_left(job, second)


def test_a_guardian_killed_after_its_spawner_still_takes_its_tree_along(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    spawner = lab.child("spawner")
    kill(spawner)
    wait_for(lambda: lab.child("spawner") != spawner, 15.0, "a new spawner")
    kill(lab.guardian(job))
    gone(engine, 1.0)
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == [(1, "lost", "guardian_lost"), (2, "succeeded", "ok")]


def test_a_killed_supervisor_costs_no_attempt_when_it_is_started_again(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    engine = lab.running(job)
    consumer, spawner = lab.child("consumer"), lab.child("spawner")
    first.kill()
    gone(consumer)
    gone(spawner)
    assert process_tree.is_alive(engine)
    lab.start()
    assert process_tree.is_alive(engine)
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    lab.nothing_left(job)


def test_an_engine_that_ends_while_no_daemon_runs_keeps_its_result(lab: Lab) -> None:
    first = lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    folder = lab.home.settings.scratch_root / job / "xtb" / "1"
    first.kill()
    lab.open_gate()
    wait_for((folder / "exit.json").exists, 8.0, "an exit record")
    assert lab.state(job) == "running"
    lab.start()
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    lab.nothing_left(job)


def test_a_whole_tree_killed_at_once_is_tried_again_by_the_next_daemon(lab: Lab) -> None:
    first = lab.start()
    jobs = [lab.submit(gate=1), lab.submit(gate=1)]
    engines = [lab.running(job) for job in jobs]
    first.kill()
    lab.home.end_processes()
    assert not any(process_tree.is_alive(engine) for engine in engines)
    lab.start()
    began = time.monotonic()
    for job in jobs:
        wait_for(lambda job=job: len(lab.attempts(job)) == 2, 15.0, "a second attempt")
    assert time.monotonic() - began < 12.0
    lab.open_gate()
    for job in jobs:
        assert lab.ended(job) == "succeeded"
        assert lab.attempts(job) == [(1, "lost", "worker_lost"), (2, "succeeded", "ok")]
        assert lab.step(job).retries == 0
    lab.nothing_left(*jobs)


def test_a_killed_engine_is_classified_and_reported_with_evidence_and_remedy(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    began = time.monotonic()
    kill(lab.running(job))
    wait_for(lambda: lab.attempts(job)[0][1] == "failed", 5.0)
    assert time.monotonic() - began < 4.0
    number, _, code = lab.attempts(job)[0]
    assert (number, bool(code)) == (1, True)
    lab.open_gate()
    state = lab.ended(job)
    assert (state, len(lab.attempts(job))) in (("succeeded", 2), ("failed", 1))
    assert lab.home.json("why", job)["attempts"][0]["code"] == code


def test_an_engine_that_fails_fails_its_job_with_code_and_log(lab: Lab) -> None:
    lab.start()
    job = lab.submit(exit=3)
    assert lab.ended(job) == "failed"
    assert lab.step(job).code
    assert lab.step(job).remedy
    assert "abnormal termination" in (lab.home.settings.logs_root / job / "xtb.1.log").read_text()
    assert lab.marked(job) == []
    assert lab.reserved() == 0


def test_what_an_engine_leaves_running_ends_with_it(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1, litter=1)
    engine = lab.running(job)

    def sleepers() -> list[int]:
        return [stat.pid for stat in process_tree.descendants(lab.guardian(job).pid) if stat.comm == "sleep"]

    litter = wait_for(lambda: [pid for pid in sleepers() if os.getsid(pid) not in (engine.pid, os.getsid(0))])
    lab.open_gate()
    assert lab.ended(job) == "succeeded"
    assert [process_tree.stat_of(pid) for pid in litter] == [None] * len(litter)
    lab.nothing_left(job)


def test_a_frozen_consumer_is_carried_through(lab: Lab) -> None:
    lab.start()
    job = lab.submit(gate=1)
    lab.running(job)
    consumer = lab.child("consumer")
    kill(consumer, signal.SIGSTOP)
    lab.open_gate()
    end = time.monotonic() + 3.0  # longer than the lease of 2 s
    wait_for(lambda: time.monotonic() > end, 5.0)
    process_tree.send(consumer, signal.SIGCONT)
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE
    assert lab.published_attempt(job) == 1
    lab.nothing_left(job)


def test_a_frozen_spawner_delays_and_harms_nothing(lab: Lab) -> None:
    lab.start()
    spawner = lab.child("spawner")
    kill(spawner, signal.SIGSTOP)
    job = lab.submit(seconds=0)
    wait_for(lambda: lab.state(job) == "running", 5.0)
    end = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > end, 5.0)
    kill(spawner, signal.SIGCONT)
    assert lab.ended(job) == "succeeded"
    assert lab.attempts(job) == DONE


@pytest.mark.parametrize("victim", ["consumer", "spawner"])
def test_a_child_that_keeps_dying_is_restarted_ever_more_slowly_and_visibly(lab: Lab, victim: str) -> None:
    running = lab.start()
    seen = []
    for _ in range(3):
        one = lab.child(victim)
        seen.append(one)
        kill(one)
        wait_for(lambda old=one: lab.child(victim) not in (old, None), 20.0, f"a new {victim}")
    assert len(set(seen)) == 3
    wait_for(lambda: len(running.events(f"{victim}_died")) == 3, 5.0)
    delays = [event["restart_in_s"] for event in running.events(f"{victim}_died")]
    assert delays == sorted(delays)
    assert delays[-1] > delays[0]
