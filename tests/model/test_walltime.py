"""A worker whose time is limited begins only what is worth it."""

from __future__ import annotations

import pytest

from qmrunner.model import walltime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90s", 90), ("1.5m", 90), ("4h", 14400), ("2d", 172800)),
        *(("59:30", 3570), ("0:59", 59), ("04:00:00", 14400), ("1-00:30:10", 88210), ("100-00:00:00", 8640000)),
        *(("2-12", 216000), ("2-12:30", 217800), ("UNLIMITED", None), ("unlimited", None), ("INFINITE", None)),
    ],
)
def test_lengths_of_time_are_read_as_people_and_schedulers_write_them(text: str, seconds: float | None) -> None:
    assert walltime.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "4 h", "-3", "1:2", "4w", "INVALID", "NOT_SET", "30:00\n30:00", "1-"])
def test_anything_else_is_refused_with_what_may_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM:SS"):
        walltime.parse(text)


def test_stopping_has_its_share_of_the_time() -> None:
    assert walltime.usable_s(3600, 60) == 3600 - 60 - walltime.MARGIN_S
    with pytest.raises(ValueError, match="leave no time"):
        walltime.usable_s(60, 60)


@pytest.mark.parametrize(
    ("left_s", "expected_s", "engine", "task", "worth"),
    [
        (1000, 700, "xtb", "optimise", True),  # it ends in time
        (1000, 900, "xtb", "optimise", False),  # it may not, and would start from the beginning
        (3590, 3500, "xtb", "optimise", True),  # a worker that has only begun: none like it has more
        (3590, 3595, "xtb", "optimise", False),
        (1000, 9000, "nwchem", "optimise", True),  # checkpoints keep what is done
        (1000, None, "xtb", "optimise", True),  # unknown
        (100, None, "xtb", "optimise", False),  # unknown, at the very end
        (100, 9000, "nwchem", "shielding", False),  # nothing would be saved by then
        (100, 50, "nwchem", "shielding", True),
    ],
)
def test_a_step_is_begun_when_it_ends_in_time_or_what_it_computes_is_kept(
    left_s: float, expected_s: float | None, engine: str, task: str, worth: bool
) -> None:
    assert walltime.is_worth_it(left_s, 3600, expected_s, engine, task) is worth


@pytest.mark.parametrize(("params", "worth"), [({"resumes": True}, True), ({"resumes": False}, False), ({}, False)])
def test_a_users_deck_is_begun_in_too_little_time_only_if_it_can_resume(params: dict[str, bool], worth: bool) -> None:
    assert walltime.is_worth_it(70, 70, 300, "nwchem", "deck", params) is worth
    assert walltime.is_worth_it(3590, 3600, 9000, "nwchem", "deck", params) is worth
    assert walltime.is_worth_it(1000, 3600, 700, "nwchem", "deck", params)
