"""What a task of an application may say of itself."""

from __future__ import annotations

from typing import Any

import pytest

from qmrunner.model.app_tasks import demand_of, words_of


def test_known_words_are_taken_and_others_named() -> None:
    given = {"cores": 2, "memory_mib": 512, "rerun": "never", "gpu": 1, "scratch_mib": -1}
    words, objections = words_of(given)
    assert words == {"cores": 2, "memory_mib": 512, "rerun": "never"}
    assert objections == ["gpu=1", "scratch_mib=-1"]
    demand = demand_of(words)
    assert (demand.cores_min, demand.cores_max, demand.memory_mib(2)) == (2, 2, 512)


@pytest.mark.parametrize("given", [{"cores": True}, {"cores": "2"}, {"rerun": "sometimes"}, ["cores"], "cores"])
def test_what_is_not_understood_changes_nothing(given: Any) -> None:
    words, objections = words_of(given)
    assert (words, len(objections)) == ({}, 1)


def test_a_task_that_declares_nothing_has_no_objections() -> None:
    assert words_of(None) == ({}, [])
