"""Cores of the steps of one stage, from what the attempts in the store tell: the same for every kind of store."""

from __future__ import annotations

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity
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
    assert "cores that are about to come back" in str(waiting.waits_for)
    work.now += 4
    work.finish(second, SUCCEED, workflow)
    assert work.claimed(worker, TWO).grant.cores == 2


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
