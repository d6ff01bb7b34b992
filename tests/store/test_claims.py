"""The protocol by which an attempt owns a step: the same for every kind of store."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qmrunner.model.jobs import Demand, Job, Plan, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.model.states import AttemptState
from qmrunner.store import claims, ready_steps, workers
from qmrunner.store.finish import deaths_since
from qmrunner.store.tables import control
from tests.store.work import BIG, CANCEL, CHAIN, FAIL, HOLD, ONE, PATHS, REQUEUE, SUCCEED, Work, Workflow, spec


def test_a_step_goes_from_ready_over_claimed_and_running_to_success_and_ends_its_job(work: Work) -> None:
    worker, job = work.worker(), work.job()
    assert work.state(job) == ("queued", {"a": "ready"})
    claim = work.claimed(worker)
    assert work.state(job) == ("running", {"a": "claimed"})
    assert work.start(claim)
    assert work.state(job) == ("running", {"a": "running"})
    assert work.finish(claim) == 0
    assert work.state(job) == ("succeeded", {"a": "succeeded"})
    step = work.step(job, "a")
    assert step.result == {"energy_hartree": -1.0}
    assert step.finished_at is not None


def test_a_claim_has_the_place_of_the_attempt_and_the_mark_of_its_processes(work: Work) -> None:
    worker, job = work.worker(), work.job()
    claim = work.claimed(worker)
    assert (claim.number, claim.worker_id) == (1, worker)
    assert claim.directory == f"/scratch/{job}/a/1"
    assert claim.log == f"/logs/{job}/a.1.log"
    assert claim.marker == f"{job}/a/1"


def test_an_attempt_is_recorded_with_guardian_notes_usage_and_end(work: Work) -> None:
    worker, _ = work.worker(), work.job()
    claim = work.claimed(worker)
    work.start(claim)
    work.now += 10
    work.finish(claim)
    (row,) = work.attempts()
    assert row["state"] == "succeeded"
    assert (row["guardian"], row["engine_pid"], row["notes"]) == ({"pid": 5}, 6, ["a note"])
    assert row["usage"] == {"wall_s": 1.5}
    assert row["finished_at"] - row["started_at"] == 10


def test_an_attempt_whose_start_was_never_recorded_may_still_finish(work: Work) -> None:
    worker, job = work.worker(), work.job()
    assert work.finish(work.claimed(worker)) == 0
    assert work.state(job)[0] == "succeeded"


def test_a_second_claimer_finds_nothing(work: Work) -> None:
    first, second, _ = work.worker(), work.worker(), work.job()
    assert work.claim(first)
    assert work.claim(second) is None


def test_every_attempt_has_the_next_number(work: Work) -> None:
    worker, job = work.worker(), work.job()
    for number in (1, 2, 3):
        claim = work.claimed(worker)
        assert claim.number == number
        assert work.finish(claim, REQUEUE) == 1
    assert work.step(job, "a").attempt == 3
    assert [row["state"] for row in work.attempts()] == ["stopped"] * 3


@pytest.mark.parametrize("verdict", [SUCCEED, FAIL, REQUEUE, CANCEL, HOLD], ids=lambda v: v.move)
def test_an_attempt_finishes_once(work: Work, verdict: Verdict) -> None:
    claim, called = _in_hand(work)
    assert work.finish(claim, verdict, publish=lambda: called.append("first")) is not None
    before = work.everything()
    for again in (SUCCEED, FAIL, REQUEUE, CANCEL, HOLD):
        assert work.finish(claim, again, publish=lambda: called.append("second")) is None
    assert work.everything() == before
    assert called == ["first"]


@pytest.mark.parametrize("verdict", [SUCCEED, FAIL, REQUEUE, CANCEL, HOLD], ids=lambda v: v.move)
@pytest.mark.parametrize("newer", ["claimed", "running", "succeeded"])
def test_an_attempt_that_was_fenced_off_changes_nothing_and_publishes_nothing(
    work: Work, verdict: Verdict, newer: str
) -> None:
    old, called = _in_hand(work)
    work.finish(old, REQUEUE)
    current = work.claimed(work.worker())
    if newer != "claimed":
        work.start(current)
    if newer == "succeeded":
        work.finish(current)
    before = work.everything()
    assert work.start(old) is False
    assert work.finish(old, verdict, publish=lambda: called.append("stale")) is None
    assert work.everything() == before
    assert called == []


def test_a_late_start_of_a_finished_attempt_changes_nothing(work: Work) -> None:
    claim, _ = _in_hand(work)
    work.finish(claim, REQUEUE)
    before = work.everything()
    assert work.start(claim) is False
    assert work.everything() == before


def test_a_failing_publication_rolls_everything_back_and_may_be_tried_again(work: Work) -> None:
    claim, _ = _in_hand(work)
    before = work.everything()

    def fails() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        work.finish(claim, publish=fails)
    assert work.everything() == before
    assert work.finish(claim) == 0


def test_a_failing_end_of_the_job_rolls_everything_back(work: Work) -> None:
    claim, _ = _in_hand(work)
    before = work.everything()

    def fails(job: Job, steps: list[Step]) -> None:
        raise OSError("no result.json")

    with pytest.raises(OSError, match=r"result\.json"):
        work.finish(claim, ended=fails)
    assert work.everything() == before


def test_the_end_of_a_job_is_reported_once_with_all_its_steps(work: Work) -> None:
    worker, told = work.worker(), []
    work.job(CHAIN)
    for _ in range(3):
        work.finish(work.claimed(worker), SUCCEED, CHAIN, ended=lambda job, steps: told.append((job.state, len(steps))))
    assert told == [("succeeded", 3)]


def test_a_reservation_lives_exactly_as_long_as_its_attempt(work: Work) -> None:
    claim, _ = _in_hand(work)
    assert work.reserved() == [(claim.step.id, 1)]
    work.finish(claim, REQUEUE)
    assert work.reserved() == []
    again = work.claimed(claim.worker_id)
    assert work.reserved() == [(again.step.id, 2)]
    work.finish(claim, SUCCEED)  # the stale one takes nothing away
    assert work.reserved() == [(again.step.id, 2)]


def test_a_worker_hands_out_no_more_slots_cores_or_memory_than_it_has(work: Work) -> None:
    worker = work.worker()
    for _ in range(4):
        work.job(Workflow(spec("a", demand=Demand(2, 2, 100, 0))))
    assert len(_claims(work, worker, Capacity(slots=1, cores=8, memory_mib=8000))) == 1
    assert len(_claims(work, worker, Capacity(slots=8, cores=5, memory_mib=8000))) == 1
    assert len(_claims(work, worker, Capacity(slots=8, cores=8, memory_mib=799))) == 1
    assert len(_claims(work, worker, Capacity(slots=4, cores=8, memory_mib=800))) == 1


def test_another_workers_reservations_take_nothing_from_this_one(work: Work) -> None:
    small = Capacity(1, 1, 1000)
    first, second = work.worker(small), work.worker(small)
    work.job()
    work.job()
    assert work.claim(first, small)
    assert work.claim(first, small) is None
    assert work.claim(second, small)


def test_priority_comes_first_then_the_order_of_submission(work: Work) -> None:
    worker = work.worker()
    late, early = [work.job() for _ in range(2)], []
    early.append(work.job(priority=5))
    late.append(work.job(priority=-1))
    early.append(work.job(priority=5))
    got = [claim.job.id for claim in _claims(work, worker)]
    assert got == early + late


def test_a_step_of_an_early_job_that_became_ready_late_goes_before_a_later_job(work: Work) -> None:
    worker, first = work.worker(), work.job(CHAIN)
    claim = work.claimed(worker)
    second = work.job()
    work.finish(claim, SUCCEED, CHAIN)
    assert [claim.job.id for claim in _claims(work, worker)] == [first, second]


def test_a_delayed_step_is_left_alone_until_its_time(work: Work) -> None:
    claim, _ = _in_hand(work)
    work.finish(claim, Verdict("requeue", AttemptState.FAILED, "crash", delay_s=30.0, spends_retry=True))
    work.now += 29
    assert work.claim(claim.worker_id) is None
    with work.store.read() as connection:
        assert not ready_steps.any_ready(connection, work.now)
        assert ready_steps.next_ready_at(connection, work.now) == work.now + 1
    work.now += 1
    again = work.claimed(claim.worker_id)
    assert again.step.retries == 1
    assert work.step(again.job.id, "a").not_before is None


def test_steps_become_ready_as_those_before_them_succeed(work: Work) -> None:
    worker, job = work.worker(), work.job(CHAIN)
    assert work.state(job)[1] == {"a": "ready", "b": "waiting", "c": "waiting"}
    assert work.finish(work.claimed(worker), SUCCEED, CHAIN) == 1
    assert work.state(job)[1] == {"a": "succeeded", "b": "ready", "c": "waiting"}
    work.finish(work.claimed(worker), SUCCEED, CHAIN)
    work.finish(work.claimed(worker), SUCCEED, CHAIN)
    assert work.state(job)[0] == "succeeded"


def test_a_step_waits_for_all_before_it(work: Work) -> None:
    fan = Workflow(spec("a"), spec("b"), spec("c", ["a", "b"]))
    worker, job = work.worker(), work.job(fan)
    one, two = work.claimed(worker), work.claimed(worker)
    assert work.finish(two, SUCCEED, fan) == 0
    assert work.state(job)[1]["c"] == "waiting"
    assert work.finish(one, SUCCEED, fan) == 1
    assert work.state(job)[1]["c"] == "ready"


class Helped(Workflow):
    """Does without `a` where that failed."""

    def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
        known = {step.name for step in steps}
        return Plan(add=tuple(spec for spec in self.specs if spec.name not in known))


@pytest.mark.parametrize(("verdict", "state"), [(SUCCEED, "succeeded"), (FAIL, "failed")])
def test_a_step_behind_a_helper_waits_for_its_end_whichever_that_is(work: Work, verdict: Verdict, state: str) -> None:
    flow = Helped(spec("a"), spec("b", ["?a"]))
    worker, job = work.worker(), work.job(flow)
    assert work.state(job)[1] == {"a": "ready", "b": "waiting"}
    assert work.finish(work.claimed(worker), verdict, flow) == 1
    assert work.state(job)[1] == {"a": state, "b": "ready"}


def test_a_retried_job_computes_its_helper_first(work: Work) -> None:
    flow = Helped(spec("a"), spec("b", ["?a"]))
    worker, job = work.worker(), work.job(flow)
    work.finish(work.claimed(worker), FAIL, flow)
    work.ask("cancel", job)
    assert work.state(job) == ("cancelled", {"a": "failed", "b": "cancelled"})
    work.ask("retry", job)
    assert work.state(job)[1] == {"a": "ready", "b": "waiting"}


def test_a_failed_step_ends_its_job_and_skips_what_has_not_started(work: Work) -> None:
    worker, job = work.worker(), work.job(CHAIN)
    assert work.finish(work.claimed(worker), FAIL, CHAIN) == 0
    assert work.state(job) == ("failed", {"a": "failed", "b": "skipped", "c": "skipped"})
    step = work.step(job, "a")
    assert (step.code, step.failure_class, step.summary) == ("crash", "permanent", "it crashed")


def test_a_job_does_not_end_in_failure_while_one_of_its_attempts_runs(work: Work) -> None:
    both = Workflow(spec("a"), spec("b"))
    worker, job = work.worker(), work.job(both)
    one, two = work.claimed(worker), work.claimed(worker)
    work.finish(one, FAIL, both)
    assert work.state(job)[0] == "running"
    work.finish(two, SUCCEED, both)
    assert work.state(job) == ("failed", {"a": "failed", "b": "succeeded"})


def test_a_poisonous_step_holds_its_job(work: Work) -> None:
    claim, _ = _in_hand(work)
    work.finish(claim, HOLD)
    assert work.state(claim.job.id) == ("held", {"a": "held"})
    assert work.claim(claim.worker_id) is None


def test_deaths_are_counted_by_step_and_window(work: Work) -> None:
    claim, _ = _in_hand(work)
    for code in ("guardian_lost", "claim_lost", "worker_lost"):
        work.finish(claim, Verdict("requeue", AttemptState.LOST, code))
        work.now += 100
        claim = work.claimed(claim.worker_id)
    with work.store.read() as connection:
        assert deaths_since(connection, claim.step.id, work.now - 1000) == 2
        assert deaths_since(connection, claim.step.id, work.now - 150) == 1
        assert deaths_since(connection, claim.step.id + 1, 0) == 0


def test_nothing_is_claimed_while_the_store_is_paused(work: Work) -> None:
    worker, _ = work.worker(), work.job()
    with work.store.write() as connection:
        connection.execute(control.insert().values(name="paused", value="yes"))
    assert work.claim(worker) is None
    with work.store.write() as connection:
        connection.execute(control.update().values(value="no"))
    assert work.claim(worker)


@pytest.mark.parametrize("state", ["draining", "stopped", "dead"])
def test_only_an_active_worker_claims(work: Work, state: str) -> None:
    worker, _ = work.worker(), work.job()
    with work.store.write() as connection:
        workers.set_state(connection, worker, state)
    assert work.claim(worker) is None


def test_a_worker_near_its_wall_time_begins_what_is_worth_it_and_why_mentions_the_rest(work: Work) -> None:
    worker = work.worker()
    long, short = (work.job(Workflow(spec(name))) for name in ("long", "short"))

    def claim() -> claims.Claim | None:
        with work.store.write() as connection:
            return claims.claim(connection, work.now, worker, BIG, PATHS, worth=lambda _, step: step.name == "short")

    found = claim()
    assert found is not None
    assert found.job.id == short
    assert claim() is None
    assert "the wall time ends" in str(work.step(long, "long").waits_for)


def test_a_dead_worker_finds_its_beat_refused(work: Work) -> None:
    worker = work.worker()
    with work.store.write() as connection:
        assert workers.beat(connection, work.now, worker, 7)
        workers.retire(connection, worker, work.now)
        assert not workers.beat(connection, work.now, worker, 7)


def test_a_successor_takes_living_attempts_over_once(work: Work) -> None:
    claim, _ = _in_hand(work)
    successor, other = work.worker(), work.worker()
    with work.store.write() as connection:
        assert workers.of_home(connection, "home", but=successor) == [claim.worker_id, other]
        workers.take_over(connection, [claim.worker_id], successor)
        workers.take_over(connection, [claim.worker_id], other)
        assert workers.fenced_attempts(connection, [(claim.step.id, 1), (claim.step.id, 2)]) == {(claim.step.id, 2)}
    assert work.attempts()[0]["worker_id"] == work.step(claim.job.id, "a").worker_id == successor
    assert work.finish(claim) == 0
    assert work.reserved() == []


def test_progress_is_kept_only_of_living_attempts(work: Work) -> None:
    claim, _ = _in_hand(work)
    with work.store.write() as connection:
        workers.save_progress(connection, work.now, [(claim.step.id, 1, {"iteration": 3})])
    work.finish(claim)
    with work.store.write() as connection:
        workers.save_progress(connection, work.now, [(claim.step.id, 1, {"iteration": 9})])
    assert work.attempts()[0]["progress"] == {"iteration": 3}


def test_one_beat_saves_usage_and_progress_of_all_attempts_of_a_worker(work: Work) -> None:
    worker = work.worker()
    for _ in range(3):
        work.job()
    live = [work.claimed(worker) for _ in range(3)]
    with work.store.write() as connection:
        assert workers.beat(connection, work.now, worker, 7)
        workers.save_usage(connection, [(one.step.id, one.number, {"cpu_s": float(one.step.id)}) for one in live])
        workers.save_progress(connection, work.now, [(one.step.id, 1, {"iteration": one.step.id}) for one in live])
    assert [(row["usage"], row["progress"]) for row in work.attempts()] == [
        ({"cpu_s": float(one.step.id)}, {"iteration": one.step.id}) for one in live
    ]


def _in_hand(work: Work) -> tuple[claims.Claim, list[str]]:
    worker, _ = work.worker(), work.job(ONE)
    claim = work.claimed(worker)
    assert work.start(claim)
    return claim, []


def _claims(work: Work, worker: int, capacity: Capacity | None = None) -> list[claims.Claim]:
    got = []
    while claim := (work.claim(worker, capacity) if capacity else work.claim(worker)):
        got.append(claim)
    return got
