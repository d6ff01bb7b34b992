"""Which step runs next, and with how much of the machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.jobs import Demand, Grant
from qmrunner.model.packing import MAX_SKIPS, Candidate, Capacity, Free, can_ever_fit, choose, grant_cores, has_space

demands = st.builds(
    lambda least, more, per_core, base, scratch, shm: Demand(least, least + more, per_core, base, scratch, shm),
    st.integers(1, 40),
    st.integers(0, 100),
    st.integers(0, 4000),
    st.integers(0, 4000),
    st.integers(0, 4000),
    st.integers(0, 4000),
)
sizes = st.none() | st.integers(-100, 16_000)
frees = st.builds(Free, st.integers(0, 20), st.integers(0, 128), st.integers(0, 256_000), sizes, sizes)


def candidates(*demands: Demand) -> list[Candidate]:
    return [Candidate(number, demand) for number, demand in enumerate(demands, 1)]


@given(st.lists(demands, max_size=12), frees)
def test_a_grant_never_exceeds_what_is_free_and_never_starves_its_step(asked: list[Demand], free: Free) -> None:
    picked = choose(candidates(*asked), free)
    if picked is None:
        return
    candidate, grant = picked
    assert free.slots >= 1
    assert candidate.demand.cores_min <= grant.cores <= min(candidate.demand.cores_max, free.cores)
    assert grant.memory_mib == candidate.demand.memory_mib(grant.cores) <= free.memory_mib
    assert grant.scratch_mib == candidate.demand.scratch_mib
    assert free.scratch_mib is None or grant.scratch_mib <= free.scratch_mib
    assert grant.shm_mib == candidate.demand.shm_mib
    assert free.shm_mib is None or grant.shm_mib <= max(0, free.shm_mib)


@given(st.lists(demands, max_size=12), frees)
def test_nothing_is_chosen_only_when_nothing_fits_at_its_least(asked: list[Demand], free: Free) -> None:
    fits = [
        one
        for one in asked
        if one.cores_min <= free.cores and one.memory_mib(one.cores_min) <= free.memory_mib and has_space(one, free)
    ]
    assert (choose(candidates(*asked), free) is not None) == bool(fits and free.slots)


@given(st.lists(demands, max_size=12), frees)
def test_the_first_that_fits_is_chosen(asked: list[Demand], free: Free) -> None:
    picked = choose(candidates(*asked), free)
    before = asked if picked is None else asked[: picked[0].step_id - 1]
    share = max(1, free.cores // max(1, min(len(asked), free.slots)))
    assert not free.slots or all(grant_cores(demand, free, share) is None for demand in before)


@given(st.integers(1, 16), st.integers(1, 64))
def test_handing_out_until_nothing_fits_never_overbooks(slots: int, cores: int) -> None:
    free, running = Free(slots, cores, 64_000), 0
    waiting = candidates(*[Demand(1, 8, 500, 100)] * 40)
    while picked := choose(waiting, free):
        waiting = waiting[1:]
        grant = picked[1]
        free = Free(free.slots - 1, free.cores - grant.cores, free.memory_mib - grant.memory_mib)
        running += 1
        assert min(free.slots, free.cores, free.memory_mib) >= 0
    assert running == min(slots, cores, 40)


def test_a_lone_step_gets_every_core_it_can_use() -> None:
    picked = choose(candidates(Demand(1, 8)), Free(4, 6, 1000))
    assert picked is not None
    assert picked[1].cores == 6


def test_many_ready_steps_share_the_cores_among_the_free_slots() -> None:
    picked = choose(candidates(*[Demand(1, 16)] * 10), Free(4, 16, 10_000))
    assert picked is not None
    assert picked[1].cores == 4


def test_cores_are_given_up_before_memory_is_overbooked() -> None:
    picked = choose(candidates(Demand(1, 8, memory_mib_per_core=1000, memory_mib_base=0)), Free(1, 8, 3500))
    assert picked is not None
    assert (picked[1].cores, picked[1].memory_mib) == (3, 3000)


def test_a_small_step_may_pass_a_big_one_that_does_not_fit() -> None:
    picked = choose(candidates(Demand(8, 8), Demand(1, 1)), Free(2, 4, 1000))
    assert picked is not None
    assert picked[0].step_id == 2


def test_what_never_fits_is_distinguished_from_what_does_not_fit_now() -> None:
    assert can_ever_fit(Demand(4, 8, 100, 0), Capacity(1, 4, 400))
    assert not can_ever_fit(Demand(5, 8, 100, 0), Capacity(1, 4, 4000))
    assert not can_ever_fit(Demand(4, 8, 101, 0), Capacity(1, 4, 400))


def test_scratch_and_shared_memory_that_are_missing_keep_a_step_from_starting() -> None:
    demand = Demand(1, 1, 0, 64, scratch_mib=500, shm_mib=100)
    assert choose(candidates(demand), Free(1, 1, 64, 500, 100)) is not None
    assert choose(candidates(demand), Free(1, 1, 64, 499, 100)) is None
    assert choose(candidates(demand), Free(1, 1, 64, 500, 99)) is None
    assert choose(candidates(demand), Free(1, 1, 64, None, None)) is not None


def test_a_step_without_shared_memory_runs_where_others_have_used_it_up() -> None:
    assert choose(candidates(Demand(shm_mib=0)), Free(1, 1, 64, 64, -5)) is not None
    assert choose(candidates(Demand(shm_mib=1)), Free(1, 1, 64, 64, 0)) is None


def test_nothing_may_pass_a_step_whose_patience_is_at_its_end() -> None:
    big, small = Demand(8, 8), Demand(1, 1)
    free = Free(4, 4, 1000)
    assert choose([Candidate(1, big, MAX_SKIPS - 1), Candidate(2, small)], free) is not None
    assert choose([Candidate(1, big, MAX_SKIPS), Candidate(2, small)], free) is None
    first = choose([Candidate(3, small), Candidate(1, big, MAX_SKIPS), Candidate(2, small)], free)
    assert first is not None
    assert first[0].step_id == 3


small_demands = st.builds(
    lambda cores, memory, scratch, shm: Demand(cores, cores + 4, 0, memory, scratch, shm),
    st.integers(1, 15),
    st.integers(0, 60_000),
    st.integers(1, 2000),
    st.integers(0, 2000),
)


@given(
    small=st.lists(small_demands, min_size=1, max_size=6),
    ends=st.lists(st.integers(0, 100), min_size=100, max_size=100),
    slots=st.integers(2, 4),
)
def test_a_step_that_needs_a_whole_volume_starts_after_few_others_whatever_keeps_coming(
    small: list[Demand], ends: list[int], slots: int
) -> None:
    """A stream of later steps that never ends, attempts that end in any order, and one step that fits when idle."""
    whole, big = Free(slots, 60, 300_000, 8000, 8000), Demand(scratch_mib=8000)
    queue, passed, number = [Candidate(1, big)], 0, 1
    running = {0: Grant(1, 64, 1, 0)}
    free = _less(whole, running[0], 1)
    for end in ends:
        while len(queue) < 4:
            number += 1
            queue.append(Candidate(number, small[number % len(small)]))
        while running and (picked := choose(queue, free)):  # it arrives when something runs already
            chosen, grant = picked
            if chosen.step_id == 1:
                assert passed <= MAX_SKIPS
                return
            passed += 1
            queue = [Candidate(1, big, passed), *(one for one in queue[1:] if one is not chosen)]
            running[chosen.step_id] = grant
            free = _less(free, grant, 1)
        if len(running) > 1 or passed >= MAX_SKIPS:
            free = _less(free, running.pop(sorted(running)[end % len(running)]), -1)
        if not running:
            picked = choose(queue, free)
            assert picked is not None
            assert (picked[0].step_id, passed) == (1, MAX_SKIPS)
            return
    raise AssertionError("it never started")


def _less(free: Free, grant: Grant, sign: int) -> Free:
    assert free.scratch_mib is not None
    assert free.shm_mib is not None
    left = Free(
        free.slots - sign,
        free.cores - sign * grant.cores,
        free.memory_mib - sign * grant.memory_mib,
        free.scratch_mib - sign * grant.scratch_mib,
        free.shm_mib - sign * grant.shm_mib,
    )
    assert min(left.slots, left.cores, left.memory_mib, left.scratch_mib or 0, left.shm_mib or 0) >= 0
    return left


def test_a_step_without_cores_needs_no_slot_and_does_not_wait_for_skipped_ones() -> None:
    hosted = Demand(cores_min=0, cores_max=0, memory_mib_base=64)
    waiting = [Candidate(1, Demand(cores_min=4, cores_max=4), skips=MAX_SKIPS), Candidate(2, hosted)]
    for free in (Free(1, 2, 1000), Free(0, 0, 1000)):
        chosen = choose(waiting, free)
        assert chosen is not None
        assert (chosen[0].step_id, chosen[1].cores, chosen[1].takes_slot) == (2, 0, False)
    assert choose(waiting, Free(0, 0, 32)) is None
