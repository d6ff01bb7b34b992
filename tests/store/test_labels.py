"""Labels match jobs to workers, and users share what workers have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qmrunner.model import labels
from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity
from qmrunner.store import ready_steps, workers
from tests.store.work import BIG, ONE, Work, Workflow, spec

PLAIN = Capacity(slots=2, cores=2, memory_mib=1000)
LARGE = replace(BIG, labels=("big-memory", "ssd"))


def test_a_step_goes_only_to_a_worker_with_every_label_that_its_job_requires(work: Work) -> None:
    plain, large = work.worker(PLAIN), work.worker(LARGE)
    job = work.job(requires=("big-memory", "ssd"))
    work.job(requires=("big-memory", "gpu"))
    assert work.claim(plain, PLAIN) is None
    assert work.claimed(large, LARGE).job.id == job
    assert work.claim(large, LARGE) is None


def test_a_label_that_is_the_beginning_of_another_is_another(work: Work) -> None:
    worker = work.worker(replace(BIG, labels=("big",)))
    work.job(requires=("big-memory",))
    assert work.claim(worker, replace(BIG, labels=("big",))) is None


def test_a_worker_with_labels_takes_what_requires_none(work: Work) -> None:
    large, job = work.worker(LARGE), work.job()
    assert work.claimed(large, LARGE).job.id == job


def test_more_steps_for_others_than_a_claim_looks_at_hide_nothing(work: Work) -> None:
    worker = work.worker()
    for _ in range(70):
        work.job(requires=("gpu",))
    job = work.job()
    assert work.claimed(worker).job.id == job


def test_the_cheap_look_before_a_claim_sees_only_what_this_worker_may_take(work: Work) -> None:
    work.job(requires=("ssd",))
    with work.store.read() as connection:
        assert not ready_steps.any_ready(connection, work.now)
        assert not ready_steps.any_ready(connection, work.now, ("gpu",))
        assert ready_steps.any_ready(connection, work.now, LARGE.labels)


def test_a_step_whose_label_no_worker_has_waits_and_is_not_held(work: Work) -> None:
    worker = work.worker(PLAIN)
    job = work.job(Workflow(spec("a", demand=Demand(8, 8))), requires=("gpu",))
    assert work.claim(worker, PLAIN) is None
    assert work.state(job) == ("queued", {"a": "ready"})


def test_a_step_is_held_when_only_workers_without_its_labels_are_large_enough(work: Work) -> None:
    small = replace(PLAIN, labels=("ssd",))
    worker, _ = work.worker(small), work.worker(BIG)
    job = work.job(Workflow(spec("a", demand=Demand(8, 8))), requires=("ssd",))
    other = work.job(Workflow(spec("a", demand=Demand(8, 8))))
    assert work.claim(worker, small) is None
    assert work.state(job) == ("held", {"a": "held"})
    assert work.state(other) == ("queued", {"a": "ready"})


def test_owner_and_labels_are_kept_with_the_job_and_with_the_worker(work: Work) -> None:
    worker = work.worker(LARGE)
    work.job(owner="ada", requires=("ssd",))
    work.job()
    asked, silent = work.claimed(worker, LARGE).job, work.claimed(worker, LARGE).job
    assert (asked.owner, asked.requires) == ("ada", ("ssd",))
    assert (silent.owner, silent.requires) == (None, ())
    with work.store.read() as connection:
        assert workers.all_workers(connection)[0]["labels"] == ["big-memory", "ssd"]


def test_users_take_turns_and_keep_their_own_order(work: Work) -> None:
    worker = work.worker()
    jobs = [work.job(owner=owner) for owner in ("ada", "ada", "ada", "bob", "bob", "eve")]
    got = [work.claimed(worker).job.id for _ in jobs]
    assert got == [jobs[i] for i in (0, 3, 5, 1, 4, 2)]


def test_priority_goes_before_shares(work: Work) -> None:
    worker = work.worker()
    work.job(owner="ada")
    work.claimed(worker)
    urgent, _ = work.job(owner="ada", priority=1), work.job(owner="bob")
    assert work.claimed(worker).job.id == urgent


def test_shares_are_counted_in_cores_over_all_workers(work: Work) -> None:
    first, second = work.worker(), work.worker()
    wide = Workflow(spec("a", demand=Demand(4, 4, 0, 0)))
    work.job(wide, owner="ada")
    work.job(owner="bob")
    assert {work.claimed(first).job.owner, work.claimed(first).job.owner} == {"ada", "bob"}
    work.job(owner="ada")
    job = work.job(owner="bob")
    assert work.claimed(second).job.id == job


def test_what_was_passed_over_too_often_goes_before_its_owners_share(work: Work) -> None:
    """Ada computes on one core for long; the seven she waits for beside it must not go to Bob for ever."""
    worker = work.worker()
    work.job(owner="ada")
    work.claimed(worker)
    big = work.job(Workflow(spec("a", demand=Demand(7, 7, 0, 0))), owner="ada")
    running = []
    for _ in range(40):
        work.job(owner="bob")
        while claim := work.claim(worker):
            if claim.job.id == big:
                return
            running.append(claim)
        work.finish(running.pop(0), workflow=ONE)
    raise AssertionError("it never started")


@pytest.mark.parametrize("text", ["Big", "a b", "-x", "ä", "a" * 41, "a|b"])
def test_what_is_no_label_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="expected labels"):
        labels.check([text])


def test_labels_are_kept_once_and_in_order() -> None:
    assert labels.check(["ssd", " gpu", "", "ssd"]) == ("gpu", "ssd")
    assert labels.of_stored(labels.stored(("gpu", "ssd"))) == ("gpu", "ssd")
    with pytest.raises(ValueError, match="20 labels at most, got 21"):
        labels.check(f"a{i}" for i in range(21))
