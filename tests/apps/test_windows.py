"""Kills at named places, before and after each move of a message (`windows.py`)."""

from __future__ import annotations

import random

import pytest

from tests.apps import windows
from tests.apps.conftest import Lab
from tests.sampling import share

# All 58 places take some ten minutes.
SHARES = 6
# After the commit of an end nothing repeats what is forgotten here.
LATE = ("qmrunner.apps.side.sql:_Sql.forget:before", "qmrunner.apps.delivery:_after:before")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_after_the_commit_of_an_end_leaves_nothing(lab: Lab) -> None:
    done = windows.run(lab, list(LATE), 2, random.Random(1))
    assert (done.wrong, len(done.counted)) == ([], 2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_kill_at_any_named_place_loses_and_repeats_nothing(lab: Lab) -> None:
    known = share(windows.places(""), SHARES)
    done = windows.run(lab, known, len(known), random.Random(1))
    assert done.wrong == []
    assert sum(done.counted.values()) > len(known) / 2
