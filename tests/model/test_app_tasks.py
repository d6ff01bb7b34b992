"""What a task of an application may say of itself."""

from __future__ import annotations

from typing import Any

import pytest

from qmrunner.model.app_tasks import MOST_TRIES, demand_of, waits_for_huey, words_of
from qmrunner.model.jobs import Step, StepSpec
from qmrunner.model.states import StepState
from tests.workflows.test_plans import step_of


def step(name: str, **more: Any) -> Step:
    return step_of(StepSpec(name=name, stage="task", engine="huey", task="task"), StepState.FAILED, **more)


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


def test_times_are_positive_and_detach_is_a_truth_value() -> None:
    good = {"quiet_timeout_s": 2.5, "hard_timeout_s": 60, "detach": True}
    assert words_of(good) == (good, [])
    words, objections = words_of({"quiet_timeout_s": 0, "detach": "yes"})
    assert (words, objections) == ({}, ["quiet_timeout_s=0", "detach='yes'"])


def test_only_the_newest_try_waits_for_huey() -> None:
    first, second = step("task", code="retrying"), step("task-2")
    assert waits_for_huey({}, [first])
    assert not waits_for_huey({"tries": 2}, [first, second])
    assert waits_for_huey({"tries": 2}, [first, second, step("tell-2", result={"state": "retrying"})])
    assert not waits_for_huey({"tries": MOST_TRIES}, [step(f"task-{MOST_TRIES}", code="retrying")])
