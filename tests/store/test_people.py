"""Cancel, retry, hold, release: the moves that people make, and that nothing gets stuck by them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import exc

from qmrunner.errors import NotFoundError, UsageError
from qmrunner.model.jobs import Submission
from qmrunner.store import events, jobs, workers
from qmrunner.store.claims import Claim
from tests.store.work import CANCEL, CHAIN, FAIL, HOLD, ONE, REQUEUE, SUCCEED, Lazy, Work, Workflow, spec


def test_a_waiting_job_is_cancelled_at_once(work: Work) -> None:
    job = work.job(CHAIN)
    assert work.ask("cancel", job).state == "cancelled"
    assert work.state(job) == ("cancelled", {"a": "cancelled", "b": "cancelled", "c": "cancelled"})
    assert work.claim(work.worker()) is None


def test_a_running_job_is_cancelled_once_its_attempt_has_ended(work: Work) -> None:
    worker, job = work.worker(), work.job(CHAIN)
    claim = work.claimed(worker)
    work.start(claim)
    asked = work.ask("cancel", job)
    assert (asked.state, asked.cancel_requested) == ("running", True)
    assert work.state(job)[1] == {"a": "running", "b": "cancelled", "c": "cancelled"}
    with work.store.read() as connection:
        assert workers.cancelled_steps(connection, worker) == {claim.step.id}
    work.finish(claim, CANCEL, CHAIN)
    assert work.state(job) == ("cancelled", {"a": "cancelled", "b": "cancelled", "c": "cancelled"})


def test_a_job_that_succeeds_before_its_cancellation_arrives_has_succeeded(work: Work) -> None:
    claim, job = _running(work, ONE)
    work.ask("cancel", job)
    work.finish(claim, SUCCEED, ONE)
    assert work.state(job)[0] == "succeeded"


@pytest.mark.parametrize("flow", [CHAIN, Lazy(*CHAIN.specs)], ids=["planned at once", "planned step by step"])
def test_a_job_cancelled_just_as_a_step_succeeded_can_be_retried_to_its_end(work: Work, flow: Workflow) -> None:
    claim, job = _running(work, flow)
    work.ask("cancel", job)
    work.finish(claim, SUCCEED, flow)
    assert work.state(job)[0] == "cancelled"
    work.ask("retry", job)
    _run_to_the_end(work, claim.worker_id, flow)
    assert work.state(job) == ("succeeded", {"a": "succeeded", "b": "succeeded", "c": "succeeded"})
    assert [row["number"] for row in work.attempts()] == [1, 1, 1]


def test_a_requeued_step_of_a_job_to_be_cancelled_is_cancelled(work: Work) -> None:
    claim, job = _running(work, CHAIN)
    work.ask("cancel", job)
    work.finish(claim, REQUEUE, CHAIN)
    assert work.state(job) == ("cancelled", {"a": "cancelled", "b": "cancelled", "c": "cancelled"})


def test_a_retry_keeps_what_succeeded_and_repeats_only_the_rest(work: Work) -> None:
    worker, job = work.worker(), work.job(CHAIN)
    work.finish(work.claimed(worker), SUCCEED, CHAIN)
    work.finish(work.claimed(worker), FAIL, CHAIN)
    assert work.state(job) == ("failed", {"a": "succeeded", "b": "failed", "c": "skipped"})
    assert work.ask("retry", job).state == "queued"
    assert work.state(job)[1] == {"a": "succeeded", "b": "ready", "c": "waiting"}
    step = work.step(job, "b")
    assert (step.code, step.summary, step.remedy, step.finished_at, step.retries) == (None, None, None, None, 0)
    assert work.step(job, "a").result == {"energy_hartree": -1.0}
    _run_to_the_end(work, worker, CHAIN)
    assert work.state(job)[0] == "succeeded"
    assert [row["number"] for row in work.attempts()] == [1, 1, 2, 1]


def test_a_retried_job_forgets_its_end_and_its_cancellation(work: Work) -> None:
    job = work.job(CHAIN)
    work.ask("cancel", job)
    again = work.ask("retry", job)
    assert (again.cancel_requested, again.code, again.summary, again.finished_at) == (False, None, None, None)
    assert work.state(job)[1] == {"a": "ready", "b": "waiting", "c": "waiting"}


def test_a_held_job_starts_nothing_and_continues_after_its_release(work: Work) -> None:
    worker, job = work.worker(), work.job(CHAIN)
    work.ask("hold", job)
    assert work.claim(worker) is None
    work.ask("release", job)
    _run_to_the_end(work, worker, CHAIN)
    assert work.state(job)[0] == "succeeded"


def test_a_running_step_of_a_held_job_continues_to_its_end(work: Work) -> None:
    claim, job = _running(work, CHAIN)
    work.ask("hold", job)
    work.finish(claim, SUCCEED, CHAIN)
    assert work.state(job) == ("held", {"a": "succeeded", "b": "ready", "c": "waiting"})
    assert work.claim(claim.worker_id) is None
    work.ask("release", job)
    assert work.claimed(claim.worker_id).step.name == "b"


def test_a_job_held_during_its_last_step_ends_with_it_and_is_not_left_behind(work: Work) -> None:
    for verdict, end in ((SUCCEED, "succeeded"), (FAIL, "failed")):
        claim, job = _running(work, ONE)
        work.ask("hold", job)
        work.finish(claim, verdict, ONE)
        assert work.state(job)[0] == end


def test_a_poisonous_step_continues_after_its_release(work: Work) -> None:
    claim, job = _running(work, ONE)
    work.finish(claim, HOLD)
    work.ask("release", job)
    assert work.state(job) == ("queued", {"a": "ready"})
    assert work.claimed(claim.worker_id).number == 2


def test_a_held_job_can_be_cancelled(work: Work) -> None:
    claim, job = _running(work, CHAIN)
    work.finish(claim, HOLD, CHAIN)
    assert work.ask("cancel", job).state == "cancelled"
    assert set(work.state(job)[1].values()) == {"cancelled"}


def _waiting(work: Work) -> str:
    return work.job()


def _succeeded(work: Work) -> str:
    claim, job = _running(work, ONE)
    work.finish(claim)
    return job


def _held(work: Work) -> str:
    job = work.job()
    work.ask("hold", job)
    return job


@pytest.mark.parametrize(
    ("make", "verbs"),
    [
        (_waiting, ["retry", "release"]),
        (_succeeded, ["cancel", "retry", "hold", "release"]),
        (_held, ["retry", "hold"]),
    ],
    ids=["a waiting job", "a succeeded job", "a held job"],
)
def test_a_move_that_does_not_fit_is_refused_with_a_remedy_and_changes_nothing(
    work: Work, make: Callable[[Work], str], verbs: list[str]
) -> None:
    job = make(work)
    before = work.everything()
    for verb in verbs:
        with pytest.raises(UsageError) as caught:
            work.ask(verb, job)
        assert caught.value.code == "wrong_state"
        assert caught.value.remedy
    assert work.everything() == before


@pytest.mark.parametrize("verb", ["cancel", "retry", "hold", "release"])
def test_an_unknown_job_is_not_found(work: Work, verb: str) -> None:
    with pytest.raises(NotFoundError, match="no job 'nope'"):
        work.ask(verb, "nope")


def test_a_key_is_given_once_even_when_two_ask_at_the_same_time(work: Work) -> None:
    job = work.job(key="mine")
    with pytest.raises(exc.IntegrityError):
        work.job(key="mine")
    with work.store.read() as connection:
        assert jobs.known(connection, [Submission("xtb", {}, key="mine")]) == {"mine": job}
        assert jobs.known(connection, [Submission("xtb", {}, key="other"), Submission("xtb", {})]) == {}
        many = [Submission("xtb", {}, key=f"key {number}") for number in range(1200)]
        assert jobs.known(connection, [*many, Submission("xtb", {}, key="mine")]) == {"mine": job}
        assert jobs.counts(connection) == {"jobs": {"queued": 1}, "steps": {"ready": 1}}


def test_one_other_request_with_a_key_is_refused_wherever_it_stands(work: Work) -> None:
    work.job(key="mine", request_digest="a")
    same, other, silent = (Submission("xtb", {}, key="mine", request_digest=digest) for digest in ("a", "b", None))
    with work.store.read() as connection:
        assert jobs.known(connection, [same, silent]).keys() == {"mine"}
        for asked in ([other, same], [same, other], [silent, other, silent]):
            with pytest.raises(UsageError) as caught:
                jobs.known(connection, asked)
            assert caught.value.code == "key_in_use"


def test_a_planner_that_raises_leaves_no_job_behind(work: Work) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("no plan")

    before = work.everything()
    with pytest.raises(RuntimeError):
        work.job(broken)  # type: ignore[arg-type]
    assert work.everything() == before


def test_jobs_are_listed_unfinished_first_then_the_newest(work: Work) -> None:
    done = work.job()
    work.ask("cancel", done)
    old, new = work.job(), work.job()
    with work.store.read() as connection:
        assert [job.id for job in jobs.listing(connection)] == [new, old, done]
        assert [job.id for job in jobs.listing(connection, states=["cancelled"])] == [done]
        assert [job.id for job in jobs.listing(connection, limit=1)] == [new]


def test_the_history_of_a_job_reports_every_move_in_order(work: Work) -> None:
    claim, job = _running(work, ONE)
    work.finish(claim)
    with work.store.read() as connection:
        told = [row["event"] for row in events.of_job(connection, job)]
    assert told == ["job_accepted", "step_claimed", "attempt_succeeded", "job_succeeded"]


def test_ids_can_be_read_aloud_and_do_not_repeat() -> None:
    ids = {jobs.new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert not set("".join(ids)) & set("il10oO")


def _running(work: Work, workflow: Workflow) -> tuple[Claim, str]:
    worker, job = work.worker(), work.job(workflow)
    claim = work.claimed(worker)
    assert claim.job.id == job
    work.start(claim)
    return claim, job


def _run_to_the_end(work: Work, worker: int, workflow: Workflow) -> None:
    while claim := work.claim(worker):
        work.start(claim)
        work.finish(claim, SUCCEED, workflow)


def test_a_fork_retried_after_one_failure_repeats_only_that_branch(work: Work) -> None:
    fork = Workflow(spec("a"), spec("b", ["a"]), spec("c", ["a"]), spec("d", ["b", "c"]))
    worker, job = work.worker(), work.job(fork)
    work.finish(work.claimed(worker), SUCCEED, fork)
    b, c = work.claimed(worker), work.claimed(worker)
    work.finish(b, FAIL, fork)
    work.finish(c, SUCCEED, fork)
    work.ask("retry", job)
    assert work.state(job)[1] == {"a": "succeeded", "b": "ready", "c": "succeeded", "d": "waiting"}
    _run_to_the_end(work, worker, fork)
    assert work.state(job)[0] == "succeeded"
