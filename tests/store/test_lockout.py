"""What one job used never keeps those that come after it from running: learned figures bend, rules alone refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from qmrunner.model.disk_space import FreeSpace
from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity, can_ever_fit
from qmrunner.model.states import JobState
from qmrunner.store import workers
from qmrunner.store.claims import Claim
from qmrunner.store.tables import attempts, events, jobs, peaks, reservations, steps
from qmrunner.store.tables import workers as worker_rows
from tests.store.work import SUCCEED, Work, Workflow, spec

HERE = Capacity(slots=2, cores=2, memory_mib=400, scratch_mib=400, shm_mib=400)
RULE = Demand(1, 2, memory_mib_per_core=80, memory_mib_base=10, scratch_mib=90, shm_mib=60)


def plain(rule: Demand = RULE) -> Workflow:
    return Workflow(replace(spec("a", demand=rule), params={"atoms": ["O", "H", "H"]}))


def ran(work: Work, claim: Claim, mib: float, rule: Demand = RULE) -> None:
    usage = {"wall_s": 9.0, "peak_memory_mib": mib, "peak_scratch_mib": mib, "peak_shm_mib": mib}
    assert work.finish(claim, SUCCEED, plain(rule), usage=usage) is not None


@pytest.mark.parametrize("used", [350.0, 399.0, 400.0, 4_000.0, 1e9])
def test_the_same_again_starts_whatever_the_first_one_used(work: Work, used: float) -> None:
    worker = work.worker(HERE)
    for _ in range(3):
        job = work.job(plain())
        claim = work.claim(worker, HERE)
        assert claim, work.state(job)
        assert claim.grant.memory_mib <= HERE.memory_mib
        assert claim.grant.scratch_mib <= (HERE.scratch_mib or 0)
        assert claim.grant.shm_mib <= (HERE.shm_mib or 0)
        ran(work, claim, used)


def test_what_was_used_is_reserved_as_far_as_there_is(work: Work) -> None:
    """Else two that need all of it would run side by side."""
    worker, alone = work.worker(HERE), replace(RULE, cores_max=1)
    work.job(plain(alone))
    ran(work, work.claimed(worker, HERE), 350.0, alone)
    first, second = work.job(plain(alone)), work.job(plain(alone))
    claim = work.claimed(worker, HERE)
    assert claim.job.id == first
    assert (claim.grant.memory_mib, claim.grant.scratch_mib, claim.grant.shm_mib) == (400, 400, 400)
    assert work.claim(worker, HERE) is None
    ran(work, claim, 100.0, alone)
    assert work.claimed(worker, HERE).job.id == second


def test_a_greedy_job_is_forgotten_by_and_by(work: Work) -> None:
    worker = work.worker(HERE)
    work.job(plain())
    ran(work, work.claimed(worker, HERE), 1e6)
    granted = []
    for _ in range(20):
        work.job(plain())
        claim = work.claimed(worker, HERE)
        granted.append(claim.grant.scratch_mib)
        ran(work, claim, 45.0)
    assert granted == sorted(granted, reverse=True)
    assert granted[0] == 400
    assert granted[10] < 290
    assert granted[19] <= 90


def test_a_larger_worker_is_waited_for_and_when_it_has_gone_the_smaller_one_takes_it(work: Work) -> None:
    large = replace(HERE, memory_mib=4000, scratch_mib=4000, shm_mib=4000)
    here, there = work.worker(HERE, "here"), work.worker(large, "there")
    work.job(plain())
    ran(work, work.claimed(there, large), 3000.0)
    work.job(plain())
    assert work.claim(here, HERE) is None
    ran(work, work.claimed(there, large), 3000.0)
    job = work.job(plain())
    with work.store.write() as connection:
        workers.set_state(connection, there, "stopped")
    claim = work.claimed(here, HERE)
    assert (claim.job.id, claim.grant.memory_mib) == (job, 400)


def test_others_files_take_from_what_was_learned_and_not_from_the_rule(work: Work) -> None:
    worker = work.worker(HERE)
    work.job(plain())
    ran(work, work.claimed(worker, HERE), 300.0)
    work.job(plain())
    assert work.claim(worker, HERE, FreeSpace(scratch_mib=89)) is None
    assert work.claimed(worker, HERE, FreeSpace(scratch_mib=120)).grant.scratch_mib == 120


def test_what_no_worker_can_do_by_the_rule_alone_is_held_with_the_rules_figures(work: Work) -> None:
    worker = work.worker(HERE)
    work.job(plain())
    ran(work, work.claimed(worker, HERE), 1e6)
    job = work.job(plain(replace(RULE, memory_mib_per_core=500)))
    assert work.claim(worker, HERE) is None
    assert work.state(job)[0] is JobState.HELD
    assert "needs 510 MiB of memory" in str(work.step(job, "a").summary)


def test_a_users_own_arguments_make_a_separate_kind(work: Work) -> None:
    worker = work.worker(HERE)
    asked = replace(spec("a", demand=RULE), params={"atoms": ["O", "H", "H"], "args": ["--stm"]})
    work.job(Workflow(asked))
    usage = {"wall_s": 9.0, "peak_memory_mib": 390.0}
    work.finish(work.claimed(worker, HERE), SUCCEED, Workflow(asked), usage=usage)
    work.job(plain())
    assert work.claimed(worker, HERE).grant.memory_mib == RULE.memory_mib(2)


sizes = st.integers(1, 3000)
capacities = st.builds(
    Capacity, slots=st.integers(1, 3), cores=st.integers(1, 4), memory_mib=st.integers(100, 3000),
    scratch_mib=st.none() | sizes, shm_mib=st.none() | st.integers(0, 3000),
)  # fmt: skip
rules = st.builds(
    Demand, cores_min=st.integers(1, 3), cores_max=st.integers(3, 4), memory_mib_per_core=st.integers(0, 900),
    memory_mib_base=st.integers(0, 300), scratch_mib=st.integers(0, 900), shm_mib=st.integers(0, 900),
)  # fmt: skip
measured = st.none() | st.floats(0.0, 1e7)
runs = st.tuples(st.integers(0, 2), rules, measured, measured, measured)


@pytest.mark.timeout(400)  # some 4,000 transactions on PostgreSQL
@settings(
    max_examples=40, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(capacities, min_size=1, max_size=3), st.lists(runs, min_size=1, max_size=25))
def test_what_ran_once_on_a_worker_runs_there_again_when_it_is_idle(
    work: Work, offers: list[Capacity], history: list[tuple[int, Demand, float | None, float | None, float | None]]
) -> None:
    """Or, while it is there, on a larger one. Whatever was run, used and granted before, by any user."""
    _empty(work)
    ids = [work.worker(one, f"home{number}") for number, one in enumerate(offers)]
    did: list[tuple[int, Demand]] = []
    for asked, rule, memory, scratch, shm in history:
        chosen = asked % len(offers)
        job = work.job(plain(rule))
        # Where one worker does not take it, one of the others does, unless its rule is too much for all.
        order = [chosen, *(number for number in range(len(offers)) if number != chosen)]
        taken = next(((one, found) for one in order if (found := work.claim(ids[one], offers[one]))), None)
        assert (taken is not None) == any(can_ever_fit(rule, one) for one in offers), work.state(job)
        if taken is None:
            assert work.state(job)[0] is JobState.HELD
            continue
        number, claim = taken
        assert claim.job.id == job
        assert claim.grant.cores <= offers[number].cores
        assert claim.grant.memory_mib <= offers[number].memory_mib
        usage = {"wall_s": 9.0, "peak_memory_mib": memory, "peak_scratch_mib": scratch, "peak_shm_mib": shm}
        work.finish(claim, SUCCEED, plain(rule), usage={k: v for k, v in usage.items() if v is not None})
        did.append((number, rule))
    for number, worker in enumerate(ids):  # each alone
        with work.store.write() as connection:
            for other in ids:
                workers.set_state(connection, other, "active" if other == worker else "stopped")
        for rule in [rule for one, rule in did if one == number]:
            job = work.job(plain(rule))
            claim = work.claimed(worker, offers[number])
            assert claim.job.id == job
            work.finish(claim, SUCCEED, plain(rule))


def _empty(work: Work) -> None:
    with work.store.write() as connection:
        for table in (reservations, attempts, steps, events, jobs, peaks, worker_rows):
            connection.execute(delete(table))
