"""A short storm among the slow tests: the long ones are `make chaos`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.storm import Storm
from tests.chaos.windows import NAMES, missing


def test_every_window_names_a_function_that_is_there() -> None:
    assert missing() == []
    assert len(set(NAMES)) == len(NAMES) >= 14


@pytest.mark.slow
def test_a_short_storm_loses_and_leaves_nothing(tmp_path: Path) -> None:
    report = Storm(tmp_path, seed=7, seconds=10, quiet_s=40).run()
    assert not any(report["counters"].values()), json.dumps(report, indent=1)
    assert report["kills"] > 0
    assert sum(report["jobs"].values()) > 0
