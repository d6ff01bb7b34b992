"""Which step runs next, and with how much of the machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Candidate, Capacity, Free, can_ever_fit, choose, grant_cores

demands = st.builds(
    lambda least, more, per_core, base: Demand(least, least + more, per_core, base),
    st.integers(1, 40),
    st.integers(0, 100),
    st.integers(0, 4000),
    st.integers(0, 4000),
)
frees = st.builds(Free, st.integers(0, 20), st.integers(0, 128), st.integers(0, 256_000))


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


@given(st.lists(demands, max_size=12), frees)
def test_nothing_is_chosen_only_when_nothing_fits_at_its_least(asked: list[Demand], free: Free) -> None:
    fits = [
        one for one in asked if one.cores_min <= free.cores and one.memory_mib(one.cores_min) <= free.memory_mib
    ]  # fmt: skip
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


def test_what_never_fits_is_told_apart_from_what_does_not_fit_now() -> None:
    assert can_ever_fit(Demand(4, 8, 100, 0), Capacity(1, 4, 400))
    assert not can_ever_fit(Demand(5, 8, 100, 0), Capacity(1, 4, 4000))
    assert not can_ever_fit(Demand(4, 8, 101, 0), Capacity(1, 4, 400))
