"""Cores of the steps of one stage, from the attempts in the store: the same for every kind of store."""

from __future__ import annotations

from dataclasses import replace

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity
from qmrunner.store.step_durations import expected_s
from tests.store.work import SUCCEED, Work, Workflow, spec

TWO = Capacity(slots=2, cores=2, memory_mib=8000)
WIDE = Demand(cores_min=1, cores_max=4, memory_mib_base=1)


def stage(count: int) -> Workflow:
    return Workflow(*(spec(f"opt-{number}", demand=WIDE, stage="opt") for number in range(count)))


def test_two_steps_share_two_cores_and_the_third_waits_for_both(work: Work) -> None:
    worker, workflow = work.worker(TWO), stage(3)
    job = work.job(workflow)
    first, second = work.claimed(worker, TWO), work.claimed(worker, TWO)
    assert (first.grant.cores, second.grant.cores) == (1, 1)
    work.start(first)
    work.start(second)
    work.now += 100
    work.finish(first, SUCCEED, workflow)
    # The other one began at the same time, so it is about to end as well.
    assert work.claim(worker, TWO) is None
    waiting = next(step for step in work.all_steps(job) if step.state == "ready")
    assert "more free cores, which are expected soon" in str(waiting.waits_for)
    work.now += 4
    work.finish(second, SUCCEED, workflow)
    assert work.claimed(worker, TWO).grant.cores == 2


def test_a_step_for_which_no_core_is_free_does_not_claim_to_wait_for_more(work: Work) -> None:
    worker, workflow = work.worker(TWO), stage(1)
    work.job(workflow)
    assert work.claimed(worker, TWO).grant.cores == 2
    job = work.job(workflow)
    assert work.claim(worker, TWO) is None
    assert "expected soon" not in str(work.all_steps(job)[0].waits_for)


def test_a_core_that_stays_away_for_long_is_not_waited_for(work: Work) -> None:
    worker, workflow = work.worker(TWO), stage(3)
    work.job(workflow)
    first = work.claimed(worker, TWO)
    work.start(first)
    work.now += 90
    second = work.claimed(worker, TWO)
    work.start(second)
    work.now += 10
    work.finish(first, SUCCEED, workflow)
    assert work.claimed(worker, TWO).grant.cores == 1


def test_where_another_job_is_ready_too_nothing_is_kept_waiting(work: Work) -> None:
    worker, workflow = work.worker(TWO), stage(3)
    work.job(workflow)
    first, second = work.claimed(worker, TWO), work.claimed(worker, TWO)
    work.start(first)
    work.start(second)
    other = work.job(stage(1))
    work.now += 100
    work.finish(first, SUCCEED, workflow)
    assert work.claimed(worker, TWO).job.id != other
    work.finish(second, SUCCEED, workflow)
    assert work.claimed(worker, TWO).job.id == other


def test_how_long_a_step_takes_is_known_once_another_of_its_size_has_ended(work: Work) -> None:
    params = {"atoms": ["O", "H", "H"], "basis": "6-31g*"}
    workflow = Workflow(*(replace(spec(name, after, WIDE), params=params) for name, after in (("a", []), ("b", ["a"]))))
    worker = work.worker(TWO)
    job = work.job(workflow)
    first = work.claimed(worker, TWO)
    with work.store.read() as connection:
        assert expected_s(connection, first.step, 2) is None
    work.start(first)
    work.now += 100
    work.finish(first, SUCCEED, workflow)
    with work.store.read() as connection:
        second = work.step(job, "b")
        assert expected_s(connection, second, first.grant.cores) == 100
        assert (expected_s(connection, second, 1) or 0) > 100
        own = replace(second, params={**params, "args": ["--stm"]})  # another calculation
        assert expected_s(connection, own, 2) is None
        deck = replace(second, params={"deck": "w.nw"})
        assert expected_s(connection, deck, 2) is None
