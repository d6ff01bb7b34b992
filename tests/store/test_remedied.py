"""A remedy in the store: the step runs again as changed, its history stays, and `retry` begins from the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qmrunner.model.jobs import Demand, Evidence, Outcome
from qmrunner.model.policy import Verdict
from qmrunner.model.remedies import Change, Failure, Remedy, propose
from qmrunner.model.states import AttemptState
from qmrunner.store import events
from qmrunner.store.claims import Claim
from tests.store.work import BIG, CHAIN, FAIL, ONE, Work, Workflow, spec

SMALL = Demand(cores_max=1, memory_mib_per_core=500)
MORE = Remedy("more", frozenset({"too_little"}), True, lambda f: Change("n is 2", {"n": 2, "m": 3}, SMALL))
INSTEAD = Remedy("other", frozenset({"too_little"}), True, lambda f: Change("another step", instead=True))


def adjusted(claim: Claim, remedy: Remedy = MORE) -> Verdict:
    outcome = Outcome("failed", "too_little", failure_class="method", evidence=Evidence("too little"))
    failure = Failure(replace(claim.step, attempt=claim.number), outcome, claim.grant, BIG)
    found = propose(failure, [remedy], "all")
    assert found is not None
    move = "fail" if found.instead else "requeue"
    return Verdict(move, AttemptState.FAILED, "too_little", failure_class="method", adjusted=found)


def started(work: Work) -> Claim:
    claim = work.claimed(work.worker())
    work.start(claim)
    return claim


def test_the_next_attempt_runs_with_what_was_changed_and_reports_it(work: Work) -> None:
    work.job(ONE)
    first = started(work)
    assert work.finish(first, adjusted(first), ONE) == 1
    second = work.claimed(first.worker_id)
    assert (second.number, second.step.params["n"], second.step.params["m"], second.step.demand) == (2, 2, 3, SMALL)
    assert second.step.retries == 0
    notes = [row["notes"] for row in work.attempts()]
    assert notes[1] == ["remedy: more after too_little of attempt 1: n is 2"]


def test_the_change_is_an_event(work: Work) -> None:
    job = work.job(ONE)
    first = started(work)
    work.finish(first, adjusted(first), ONE)
    with work.store.read() as connection:
        (told,) = [row for row in events.of_job(connection, job) if row["event"] == "step_remedied"]
    assert (told["data"]["remedy"], told["data"]["neutral"], told["data"]["change"]) == ("more", True, "n is 2")


def test_a_fenced_attempt_changes_nothing(work: Work) -> None:
    work.job(ONE)
    first = started(work)
    verdict = adjusted(first)
    work.finish(first, verdict, ONE)
    again = work.claimed(first.worker_id)
    before = work.everything()
    assert work.finish(first, verdict, ONE) is None
    assert work.everything() == before
    assert again.number == 2


def test_retry_begins_from_the_plan_and_keeps_the_history_of_the_attempts(work: Work) -> None:
    job = work.job(CHAIN)
    first = started(work)
    work.finish(first, adjusted(first), CHAIN)
    second = work.claimed(first.worker_id)
    work.finish(second, FAIL, CHAIN)
    work.ask("retry", job)
    step = work.step(job, "a")
    assert (dict(step.params), step.demand) == ({"n": 1}, first.step.demand)
    assert "more" in work.attempts()[1]["notes"][0]


@pytest.mark.parametrize("there", [True, False])
def test_retry_leaves_a_step_alone_only_where_another_one_does_its_work(there: bool, work: Work) -> None:
    flow = Workflow(spec("a"), replace(spec("b"), stage="a" if there else "b"))
    job = work.job(flow)
    first = started(work)
    work.finish(first, adjusted(first, INSTEAD), flow)
    work.ask("retry", job)
    assert work.step(job, "a").state == ("failed" if there else "ready")
