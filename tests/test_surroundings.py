"""The caller of the tests does not change what they see."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import hostile, surroundings


@pytest.mark.parametrize("seed", range(20))
def test_of_a_hostile_environment_the_tests_take_over_what_they_would_of_any(tmp_path: Path, seed: int) -> None:
    given = {"PATH": "/usr/bin", "CI": "true"}
    made = hostile.variables(seed, given, tmp_path)
    own = {"HOME", "TMPDIR", "DOCKER_CONFIG", surroundings.HOSTILE}
    made.pop(surroundings.HOSTILE)
    took = surroundings.taken(made)
    assert {n: v for n, v in took.items() if n not in own} == surroundings.taken(given)


def test_the_variables_of_this_run_are_those_named() -> None:
    if surroundings.HOSTILE not in os.environ:
        started_with = {"HOME", "PWD", "OLDPWD", "SHLVL", "_", "PYTHONPATH"}
        started_with.add("RDBASE")  # RDKit sets it when it is loaded
        assert surroundings.taken(os.environ).keys() | started_with >= os.environ.keys()


def test_every_size_of_a_run_that_tests_read_reaches_them() -> None:
    """Counts of decks and runs, and the like: a variable that is dropped leaves the default, and nothing shows it."""
    read = re.compile(r'int\(os\.environ\.get\("([A-Z_]+)"')
    named = {name for path in Path(__file__).parent.rglob("*.py") for name in read.findall(path.read_text())}
    assert {"CANARY_RUNS", "ECHOED_DECKS"} <= named
    assert named <= surroundings.taken(dict.fromkeys(named, "1")).keys()
