"""What earlier attempts say about the next one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model.jobs import Demand
from qmrunner.model.learned_demand import ENOUGH, Ratios, expected, kind_of, learned, quantile, ratios_of

RULE = Demand(1, 4, memory_mib_per_core=300, memory_mib_base=100, scratch_mib=200, shm_mib=50)
WATER, ETHANOL = ["O", "H", "H"], ["C", "C", "O", *["H"] * 6]
DFT = {"functional": "b3lyp", "basis": "6-31G*", "cosmo": "chloroform"}
ratios = st.builds(Ratios, *[st.none() | st.floats(0.0, 20.0)] * 3)


def test_attempts_of_one_engine_task_method_and_size_class_are_of_one_kind() -> None:
    kind = kind_of("nwchem", "shielding", {**DFT, "atoms": ETHANOL})
    assert kind == kind_of("nwchem", "shielding", {**DFT, "atoms": ETHANOL[:-1], "charge": 1})
    others = [
        kind_of("nwchem", "optimise", {**DFT, "atoms": ETHANOL}),
        kind_of("nwchem", "shielding", {**DFT, "basis": "6-311+G(2d,p)", "atoms": ETHANOL}),
        kind_of("nwchem", "shielding", {**DFT, "cosmo": None, "atoms": ETHANOL}),
        kind_of("nwchem", "shielding", {**DFT, "atoms": WATER}),
    ]
    assert len({kind, *others}) == 5


def test_what_users_submit_is_of_no_kind() -> None:
    assert kind_of("nwchem", "deck", {"deck": "a.nw"}) is None
    assert kind_of("xtb", "user", {"structure": "a.xyz", "atoms": 12}) is None


def test_a_peak_counts_as_its_ratio_to_the_rule_and_memory_without_the_base() -> None:
    usage = {"wall_s": 3.0, "peak_memory_mib": 400.0, "peak_scratch_mib": 20.0, "peak_shm_mib": 25.0}
    assert ratios_of(RULE, 2, usage) == Ratios(0.5, 0.1, 0.5)
    assert ratios_of(RULE, 2, {"wall_s": 9.0, "peak_memory_mib": 60.0}) == Ratios(memory=-40 / 600)
    assert expected(RULE, 2, [Ratios(memory=-40 / 600)])["memory_mib"] == 60
    assert ratios_of(RULE, 2, {"wall_s": 9.0}) is None


def test_a_run_too_short_to_be_sampled_gives_its_scratch_only() -> None:
    usage = {"wall_s": 0.3, "peak_memory_mib": 1.0, "peak_scratch_mib": 20.0, "peak_shm_mib": 0.0}
    assert ratios_of(RULE, 2, usage) == Ratios(scratch=0.1)


def test_nothing_seen_leaves_the_rule() -> None:
    assert learned(RULE, []) == RULE
    assert expected(RULE, 2, []) == {"memory_mib": 700, "scratch_mib": 200, "shm_mib": 50}


def test_one_attempt_raises_an_estimate_and_only_enough_of_them_lower_it() -> None:
    assert learned(RULE, [Ratios(scratch=2.0)]).scratch_mib == 500
    assert learned(RULE, [Ratios(scratch=0.1)] * (ENOUGH - 1)).scratch_mib == 200
    assert learned(RULE, [Ratios(scratch=0.1)] * ENOUGH).scratch_mib == 25


def test_memory_and_shared_memory_never_fall_below_the_rule() -> None:
    got = learned(RULE, [Ratios(0.1, 0.1, 0.1)] * 20)
    assert (got.memory_mib(3), got.shm_mib) == (RULE.memory_mib(3), RULE.shm_mib)
    more = learned(RULE, [Ratios(2.0, 1.0, 4.0)])
    assert (more.memory_mib(1), more.shm_mib) == (100 + 750, 250)


def test_what_is_expected_is_what_was_seen_without_a_margin() -> None:
    assert expected(RULE, 2, [Ratios(0.5, 0.1, 0.5)] * 3) == {"memory_mib": 400, "scratch_mib": 20, "shm_mib": 25}


def test_one_outlier_of_twenty_is_left_out() -> None:
    assert quantile([0.5] * 19 + [9.0]) == 0.5
    assert quantile([0.5, 9.0]) == 9.0


def test_what_an_earlier_attempt_was_stopped_for_is_never_undercut() -> None:
    rule = Demand(scratch_mib=200, scratch_least_mib=900)
    assert learned(rule, [Ratios(scratch=0.1)] * 10).scratch_mib == 900


@given(st.lists(ratios, max_size=30))
def test_a_reservation_covers_what_is_expected(seen: list[Ratios]) -> None:
    got, peaks = learned(RULE, seen), expected(RULE, 2, seen)
    assert got.memory_mib(2) >= peaks["memory_mib"]
    assert got.scratch_mib >= peaks["scratch_mib"] or len(seen) == 0
    assert got.shm_mib >= peaks["shm_mib"]


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_a_quantile_is_one_of_the_values(share: float) -> None:
    assert quantile([3.0, 1.0, 2.0], share) in (1.0, 2.0, 3.0)
