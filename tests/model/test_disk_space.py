"""What of a shared volume may be handed out, who makes room, and when the ballast goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model import disk_space
from qmrunner.model.disk_space import Use

uses = st.lists(st.builds(Use, st.integers(0, 5000), st.floats(0, 5000)), max_size=8)


def test_what_runs_keeps_what_it_reserved_and_has_not_used_yet() -> None:
    running = [Use(300, 100.0), Use(200, 200.0)]
    assert disk_space.left_mib(1000, running, 700) == 500  # by the total
    assert disk_space.left_mib(1000, running, 450) == 250  # another program has written 250
    assert disk_space.left_mib(1000, running, 100) == -100


def test_an_unknown_size_limits_nothing() -> None:
    assert disk_space.left_mib(None, [Use(10)], None) is None
    assert disk_space.left_mib(100, [Use(10)], None) == 90
    assert disk_space.left_mib(None, [Use(10, 4.0)], 50) == 44


@given(st.integers(0, 10_000), uses, st.integers(0, 10_000))
def test_handing_out_what_is_left_never_overfills_the_volume(total: int, running: list[Use], others: int) -> None:
    """An attempt that then uses all of its reservation, and not more, finds space."""
    free = total - others - sum(use.used_mib for use in running)
    left = disk_space.left_mib(total, running, int(free))
    assert left is not None
    if left > 0 and free >= 0:
        to_come = sum(use.unused_mib for use in running) + left
        assert to_come <= free
        assert sum(use.reserved_mib for use in running) + left <= total


@pytest.mark.parametrize(("total", "soft", "hard"), [(64, 3, 1), (10_240, 512, 128), (1_000_000, 2048, 512)])
def test_the_marks_follow_the_size_of_the_volume(total: int, soft: int, hard: int) -> None:
    assert (disk_space.soft_mark_mib(total), disk_space.hard_mark_mib(total)) == (soft, hard)


def test_settings_move_the_marks() -> None:
    assert disk_space.soft_mark_mib(1000, 300) == 300
    assert disk_space.hard_mark_mib(1000, None, 400) == 100
    assert disk_space.hard_mark_mib(1000, 7, 400) == 7


def test_who_is_furthest_over_its_reservation_makes_room_before_who_merely_uses_most() -> None:
    assert disk_space.greediest([("a", Use(900, 850.0)), ("b", Use(10, 60.0)), ("c", Use(10, 70.0))]) == "c"
    assert disk_space.greediest([("a", Use(900, 850.0)), ("b", Use(100, 60.0))]) == "a"
    assert disk_space.greediest([("a", Use(900)), ("b", Use(100))]) is None
    assert disk_space.greediest([]) is None


def test_a_reservation_is_to_grow_before_it_is_used_up() -> None:
    assert disk_space.wanted_mib(Use(100, 80.0)) is None
    assert disk_space.wanted_mib(Use(100, 81.0)) == 122


@given(st.integers(0, 10_000), st.floats(1, 10_000))
def test_an_attempt_that_was_stopped_over_its_reservation_asks_for_more_each_time(reserved: int, over: float) -> None:
    assert disk_space.after_stop_mib(reserved, reserved + over) >= (reserved + over) * 1.5


def test_an_attempt_stopped_for_others_files_asks_for_no_more() -> None:
    assert disk_space.after_stop_mib(100, 40.0) == 100


def test_the_ballast_goes_when_the_disk_is_full_and_comes_back_when_there_is_room() -> None:
    assert disk_space.ballast_move(100, 16, True) is None
    assert disk_space.ballast_move(3, 16, True) == "release"
    assert disk_space.ballast_move(30, 16, False) is None
    assert disk_space.ballast_move(81, 16, False) == "make"


def test_without_a_ballast_none_is_made_and_an_old_one_goes() -> None:
    assert disk_space.ballast_move(10_000, 0, False) is None
    assert disk_space.ballast_move(10_000, 0, True) == "release"


@given(st.floats(0, 10_000), st.integers(0, 64))
def test_the_ballast_is_not_made_to_be_released_at_once(free: float, size: int) -> None:
    if disk_space.ballast_move(free, size, False) == "make":
        assert disk_space.ballast_move(free - size, size, True) is None
