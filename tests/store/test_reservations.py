"""Scratch and shared memory: reserved before they are used, over all workers of a volume."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qmrunner.model.disk_space import LOW, QUOTA, FreeSpace
from qmrunner.model.jobs import Demand
from qmrunner.model.learned_demand import RULES
from qmrunner.model.packing import MAX_SKIPS, Capacity
from qmrunner.model.policy import Verdict
from qmrunner.model.states import AttemptState, JobState
from qmrunner.store import reservations, usage_peaks
from tests.store.work import REQUEUE, SUCCEED, Work, Workflow, spec

VOLUME = Capacity(8, 8, 8000, scratch_mib=1000, shm_mib=60, scratch_volume="boot 7", shm_volume="boot 8")
STOPPED = Verdict("requeue", AttemptState.STOPPED, "stopped")


def needs(scratch: int = 10, shm: int = 0, **more: int) -> Workflow:
    return Workflow(spec("a", demand=Demand(scratch_mib=scratch, shm_mib=shm, **more)))


def test_scratch_that_is_reserved_is_not_given_out_again(work: Work) -> None:
    worker = work.worker(VOLUME)
    jobs = [work.job(needs(400)) for _ in range(3)]
    claims = [work.claim(worker, VOLUME) for _ in range(3)]
    assert [claim and claim.grant.scratch_mib for claim in claims] == [400, 400, None]
    assert work.step(jobs[2], "a").waits_for == f"400 MiB of scratch (200 MiB free) on worker {worker}"


def test_shared_memory_that_is_reserved_is_not_given_out_again(work: Work) -> None:
    worker = work.worker(VOLUME)
    jobs = [work.job(needs(shm=48)) for _ in range(2)]
    assert work.claim(worker, VOLUME)
    assert work.claim(worker, VOLUME) is None
    assert work.step(jobs[1], "a").waits_for == f"48 MiB of /dev/shm (12 MiB free) on worker {worker}"


def test_workers_of_one_volume_share_what_is_on_it(work: Work) -> None:
    first, second = work.worker(VOLUME, "one"), work.worker(VOLUME, "two")
    apart = replace(VOLUME, scratch_volume="boot 9")
    third = work.worker(apart, "three")
    for _ in range(3):
        work.job(needs(700))
    assert work.claim(first, VOLUME)
    assert work.claim(second, VOLUME) is None
    assert work.claim(third, apart)


def test_files_of_others_lessen_what_may_be_reserved_until_they_go(work: Work) -> None:
    worker, job = work.worker(VOLUME), work.job(needs(400))
    assert work.claim(worker, VOLUME, FreeSpace(scratch_mib=399)) is None
    assert work.step(job, "a").waits_for == f"400 MiB of scratch (399 MiB free) on worker {worker}"
    assert work.claim(worker, VOLUME, FreeSpace(scratch_mib=400))
    assert work.step(job, "a").waits_for is None


def test_what_a_running_attempt_has_used_of_its_reservation_is_not_counted_twice(work: Work) -> None:
    worker = work.worker(VOLUME)
    work.job(needs(600))
    claim = work.claimed(worker, VOLUME)
    work.job(needs(300))
    work.uses(claim, scratch_mib=500.0)
    assert work.claim(worker, VOLUME, FreeSpace(scratch_mib=399)) is None  # 399 - 100 still to come
    assert work.claim(worker, VOLUME, FreeSpace(scratch_mib=400))


def test_a_machine_on_which_nothing_may_start_states_why(work: Work) -> None:
    worker, job = work.worker(VOLUME), work.job()
    assert work.claim(worker, VOLUME, FreeSpace(blocked="disk: 3 MiB are free on /logs")) is None
    assert work.step(job, "a").waits_for == f"disk: 3 MiB are free on /logs (worker {worker})"


def test_a_step_that_can_never_fit_is_held_with_numbers_and_remedy_and_never_starts(work: Work) -> None:
    worker, job = work.worker(VOLUME), work.job(needs(shm=3584))
    assert work.claim(worker, VOLUME) is None
    step = work.step(job, "a")
    assert (work.state(job)[0], step.code) == (JobState.HELD, "never_fits")
    assert step.summary == "a needs 3.5 GiB of /dev/shm; the best worker has 60 MiB"
    assert step.remedy == f"run the container with `--shm-size 4g`; then `qmrunner release {job}`"
    assert work.attempts() == []


def test_a_big_step_is_passed_over_only_so_often(work: Work) -> None:
    worker = work.worker(VOLUME)
    work.job(needs(300))
    running = work.claimed(worker, VOLUME)
    big = work.job(needs(1000))
    for _ in range(MAX_SKIPS):
        work.job(needs(300))
        one = work.claimed(worker, VOLUME)
        work.finish(running)
        running = one
    later = work.job(needs(300))
    assert work.claim(worker, VOLUME) is None
    assert work.step(big, "a").skips == MAX_SKIPS
    assert "starts next" in (work.step(later, "a").waits_for or "")
    work.finish(running)
    assert work.claimed(worker, VOLUME).job.id == big
    assert work.step(big, "a").skips == 0


def test_a_step_that_others_files_keep_out_delays_no_other(work: Work) -> None:
    worker = work.worker(VOLUME)
    big = work.job(needs(900))
    for _ in range(MAX_SKIPS + 3):
        work.job(needs(100))
        work.finish(work.claimed(worker, VOLUME, FreeSpace(scratch_mib=500)))
    assert work.step(big, "a").skips == 0
    assert "500 MiB free" in (work.step(big, "a").waits_for or "")


def test_a_reservation_grows_by_what_is_free_and_no_further(work: Work) -> None:
    worker = work.worker(VOLUME)
    work.job(needs(400))
    work.job(needs(300))
    one, _ = work.claimed(worker, VOLUME), work.claimed(worker, VOLUME)
    assert grown(work, one.step.id, one.number, worker, 600) == 600
    assert grown(work, one.step.id, one.number, worker, 900) == 700
    assert grown(work, one.step.id, one.number, worker, 900) is None
    work.finish(one)
    assert grown(work, one.step.id, one.number, worker, 900) is None


@pytest.mark.parametrize("reason", [QUOTA, LOW])
def test_an_attempt_stopped_over_its_reservation_asks_for_more_and_spends_no_retry(work: Work, reason: str) -> None:
    worker, job = work.worker(VOLUME), work.job(needs(200))
    usage = {"stop_reason": reason, "peak_scratch_mib": 300.0}
    work.finish(work.claimed(worker, VOLUME), STOPPED, usage=usage)
    assert work.step(job, "a").retries == 0
    assert work.claimed(worker, VOLUME).grant.scratch_mib == 451


def test_a_step_that_outgrows_every_volume_is_held_in_the_end(work: Work) -> None:
    worker, job = work.worker(VOLUME), work.job(needs(200))
    while claim := work.claim(worker, VOLUME):
        peak = claim.grant.scratch_mib + 1.0
        work.finish(claim, STOPPED, usage={"stop_reason": QUOTA, "peak_scratch_mib": peak})
    assert work.step(job, "a").code == "never_fits"
    assert [attempt["granted"]["scratch_mib"] for attempt in work.attempts()] == [200, 302, 455, 685, 950]


def test_another_stop_leaves_the_demand_as_it_was(work: Work) -> None:
    worker, _ = work.worker(VOLUME), work.job(needs(200))
    work.finish(work.claimed(worker, VOLUME), REQUEUE, usage={"stop_reason": "drain", "peak_scratch_mib": 300.0})
    assert work.claimed(worker, VOLUME).grant.scratch_mib == 200


def test_successful_attempts_teach_what_the_next_of_their_kind_needs(work: Work) -> None:
    worker = work.worker(VOLUME)
    sized = replace(spec("a", demand=Demand(scratch_mib=500)), params={"atoms": ["O", "H", "H"]})
    for _ in range(5):
        work.job(Workflow(sized))
        work.finish(work.claimed(worker, VOLUME), SUCCEED, Workflow(sized), usage={"peak_scratch_mib": 40.0})
    work.job(Workflow(sized))
    assert work.claimed(worker, VOLUME).grant.scratch_mib == 50


def test_only_the_newest_attempts_of_a_kind_are_remembered(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_peaks, "KEPT", 3)
    worker = work.worker(VOLUME)
    sized = replace(spec("a", demand=Demand(scratch_mib=100)), params={"atoms": ["O", "H", "H"]})
    for peak in (90.0, 10.0, 20.0, 30.0):
        work.job(Workflow(sized))
        work.finish(work.claimed(worker, VOLUME), SUCCEED, Workflow(sized), usage={"peak_scratch_mib": peak})
    with work.store.read() as connection:
        (found,) = usage_peaks.seen(connection, [f"r{RULES} xtb user - gas 3"]).values()
    assert [one.scratch for one in found] == [0.3, 0.2, 0.1]


def grown(work: Work, step_id: int, number: int, worker: int, scratch_mib: int) -> int | None:
    with work.store.write() as connection:
        return reservations.grow(
            connection, step_id=step_id, number=number, worker_id=worker, scratch_mib=scratch_mib, capacity=VOLUME,
            free_space=FreeSpace(),
        )  # fmt: skip
