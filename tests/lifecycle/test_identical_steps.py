"""Two steps with the same content at the same time: one is computed, the other waits for it and takes its result."""

from __future__ import annotations

import os
import signal

import pytest

from tests.lifecycle.lab import Lab
from tests.support import wait_for


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.home.extra["QMRUNNER_REUSE"] = "on"
    return lab


@pytest.fixture
def twins(lab: Lab) -> tuple[Lab, str, str]:
    """A running step, and an identical one of another job that waits for it; room for both."""
    lab.start()
    return lab, *pair(lab)


def pair(lab: Lab) -> tuple[str, str]:
    first = lab.submit(gate=1)
    lab.running(first)
    second = again(lab)
    wait_for(lambda: lab.attempts(second) == [(1, "stopped", "same_running")], what="the second to wait")
    return first, second


def again(lab: Lab, *options: str) -> str:
    """The first structure once more, as another job."""
    ended = lab.home.run("submit", "xtb", str(lab.home.path.parent / "mol1.xyz"), *options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_second_waits_names_the_first_and_takes_the_result(twins: tuple[Lab, str, str]) -> None:
    lab, first, second = twins
    assert lab.home.job(second)["steps"][0]["waits_for"] == f"{first}/xtb, which computes the same"
    told = lab.home.json("why", second)
    assert told["summary"] == f"step xtb waits for {first}/xtb, which computes the same"
    assert told["code"] is None
    third = again(lab)  # and so do all that come
    wait_for(lambda: lab.attempts(third) == [(1, "stopped", "same_running")], what="the third to wait")
    other = lab.submit(seconds=0)  # a step that waits like this delays no other
    assert lab.ended(other) == "succeeded"
    lab.open_gate()
    for job in (first, second, third):
        assert lab.ended(job) == "succeeded"
    assert lab.attempts(first) == [(1, "succeeded", "ok")]
    for job in (second, third):
        assert lab.attempts(job) == [(1, "stopped", "same_running"), (2, "succeeded", "ok")]
        assert lab.step(job).retries == 0
        last = lab.home.json("why", job)["attempts"][-1]
        assert last["usage"]["reused_from"] in {f"{first}/xtb", f"{second}/xtb", f"{third}/xtb"}
        assert lab.published_attempt(job) == 1  # the first one's
    lab.nothing_left(first, second, third)


def test_the_second_is_computed_when_the_first_is_cancelled(twins: tuple[Lab, str, str]) -> None:
    lab, first, second = twins
    lab.move("cancel", first)
    lab.running(second)
    lab.open_gate()
    assert lab.ended(second) == "succeeded"
    assert lab.attempts(second) == [(1, "stopped", "same_running"), (2, "succeeded", "ok")]
    assert lab.published_attempt(second) == 2


def test_the_second_is_computed_when_the_first_fails(lab: Lab) -> None:
    lab.home.extra["QMRUNNER_MAX_RETRIES"] = "0"
    lab.start()
    first = lab.submit(gate=1, exit=1)
    lab.running(first)
    second = again(lab)
    wait_for(lambda: lab.attempts(second) == [(1, "stopped", "same_running")], what="the second to wait")
    lab.open_gate()
    assert lab.ended(first) == lab.ended(second) == "failed"
    assert [code for _, _, code in lab.attempts(second)] == ["same_running", lab.step(first).code]


def test_the_second_waits_on_while_the_first_is_taken_over_by_a_new_consumer(twins: tuple[Lab, str, str]) -> None:
    lab, first, second = twins
    consumer = lab.child("consumer")
    os.kill(consumer.pid, signal.SIGKILL)
    wait_for(lambda: lab.child("consumer").pid != consumer.pid, what="a new consumer")
    lab.open_gate()
    assert lab.ended(first) == lab.ended(second) == "succeeded"
    assert lab.attempts(first) == [(1, "succeeded", "ok")]
    assert len(lab.attempts(second)) == 2
    assert lab.published_attempt(second) == 1


def test_the_second_waits_on_when_the_first_is_stopped_and_continues(lab: Lab) -> None:
    """Both are ready after the restart, and both could be claimed at once."""
    running = lab.start()
    first, second = pair(lab)
    assert running.stop() == 0
    lab.start()
    lab.running(first)
    lab.open_gate()
    assert lab.ended(first) == lab.ended(second) == "succeeded"
    assert lab.attempts(first) == [(1, "stopped", "stopped"), (2, "succeeded", "ok")]
    assert {lab.published_attempt(job) for job in (first, second)} == {2}


def test_a_fresh_run_waits_for_no_other_step(twins: tuple[Lab, str, str]) -> None:
    lab, _, _ = twins
    fresh = again(lab, "--fresh")
    lab.running(fresh)
    lab.open_gate()
    assert lab.ended(fresh) == "succeeded"
    assert lab.attempts(fresh) == [(1, "succeeded", "ok")]
