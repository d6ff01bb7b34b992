"""Kills at named places, before and after each move of a message (`windows.py`)."""

from __future__ import annotations

import os
import random

import pytest

from tests.apps import windows
from tests.apps.conftest import Lab

# WINDOWS=all takes all 58 places, some ten minutes.
EVERY = 1 if os.environ.get("WINDOWS") == "all" else 6
# After the commit of an end nothing repeats what is forgotten here.
LATE = ("qmrunner.apps.side.sql:_Sql.forget:before", "qmrunner.apps.delivery:_after:before")


@pytest.mark.timeout(300)
def test_a_kill_after_the_commit_of_an_end_leaves_nothing(lab: Lab) -> None:
    done = windows.run(lab, list(LATE), 2, random.Random(1))
    assert (done.wrong, len(done.counted)) == ([], 2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_kill_at_any_named_place_loses_and_repeats_nothing(lab: Lab) -> None:
    known = windows.places("")[::EVERY]
    done = windows.run(lab, known, len(known), random.Random(1))
    assert done.wrong == []
    assert sum(done.counted.values()) > len(known) / 2
