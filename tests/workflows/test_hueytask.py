"""The steps of a task of a Huey application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.huey import HueyTask
from qmrunner.model.jobs import Exit, Job, JobEnd, Outcome, Step, Submission
from qmrunner.model.states import StepState
from qmrunner.workflows import workflow
from tests.workflows.test_plans import job_of, step_of

PARAMS = {
    "app": "mod.huey",
    "task": "mod.add",
    "huey_id": "u1",
    "message": "c2VjcmV0",
    "cwd": "/app",
    "words": {"cores": 2},
}
OURS = Exit(returncode=0)


def job() -> Job:
    return job_of(Submission(kind="huey", params=PARAMS))


def task(state: StepState, **more: Any) -> Step:
    (spec,) = workflow("huey").plan(job(), ()).add
    return step_of(spec, state, **more)


def test_the_one_step_reserves_what_the_task_declares() -> None:
    (spec,) = workflow("huey").plan(job(), ()).add
    assert (spec.name, spec.engine) == ("task", "huey")
    assert spec.demand is not None
    assert spec.demand.cores_min == 2


def test_the_job_ends_as_a_task_that_reported_to_its_application() -> None:
    plan = workflow("huey").plan(job(), [task(StepState.SUCCEEDED, summary="the task ended")])
    assert plan.end == JobEnd("succeeded", summary="the task ended")
    plan = workflow("huey").plan(job(), [task(StepState.FAILED, code="task_error", summary="ValueError: no")])
    assert (plan.add, plan.end) == ((), JobEnd("failed", "task_error", "task failed: ValueError: no"))


def test_a_death_is_reported_before_the_job_ends() -> None:
    died = task(StepState.FAILED, code="task_died", summary="the task's process died", attempt=3)
    plan = workflow("huey").plan(job(), [died])
    (tell,) = plan.add
    assert (plan.end, tell.name, tell.params["attempts"], tell.params["why"]) == (None, "tell", 3, died.summary)
    for state in (StepState.READY, StepState.RUNNING):
        plan = workflow("huey").plan(job(), [died, step_of(tell, state)])
        assert (plan.add, plan.end) == ((), None)
    for state in (StepState.SUCCEEDED, StepState.FAILED):
        end = workflow("huey").plan(job(), [died, step_of(tell, state)]).end
        assert end is not None
        assert (end.state, end.code) == ("failed", "task_died")


def test_the_message_is_in_no_result() -> None:
    result = workflow("huey").result(job(), [task(StepState.SUCCEEDED)])
    assert PARAMS["message"] not in json.dumps(result, default=str)
    assert result["result"]["task"] == "mod.add"


def judged(folder: Path, end: dict[str, Any] | None, exit: Exit = OURS) -> Outcome:
    if end is not None:
        (folder / "done.json").write_text(json.dumps({"error": None, "outbox": [], "deletes": [], **end}))
    return HueyTask().interpret(task(StepState.RUNNING), folder, folder / "log", exit)


@pytest.mark.parametrize("state", ["complete", "scheduled", "revoked", "expired"])
def test_an_end_without_an_exception_is_a_success(tmp_path: Path, state: str) -> None:
    outcome = judged(tmp_path, {"state": state})
    assert (outcome.state, outcome.reported) == ("succeeded", True)


def test_an_exception_is_the_evidence_and_stands_even_if_a_stop_came_too_late(tmp_path: Path) -> None:
    error = {"text": "ValueError: no", "file": "/app/mod.py", "line": 7}
    outcome = judged(tmp_path, {"state": "error", "error": error}, Exit(returncode=0, stop_reason="drain"))
    assert (outcome.state, outcome.code, outcome.failure_class, outcome.reported) == (
        "failed",
        "task_error",
        "permanent",
        True,
    )
    assert outcome.evidence is not None
    assert (outcome.evidence.text, outcome.evidence.file, outcome.evidence.line) == tuple(error.values())


@pytest.mark.parametrize(
    ("exit", "state", "code"),
    [
        (Exit(returncode=None, signal=9), "failed", "killed"),
        (Exit(returncode=3), "failed", "task_died"),
        (Exit(returncode=143, stop_reason="drain"), "stopped", "stopped"),
    ],
)
def test_a_process_without_a_report_has_died_or_was_stopped(tmp_path: Path, exit: Exit, state: str, code: str) -> None:
    outcome = judged(tmp_path, None, exit)
    assert (outcome.state, outcome.code, outcome.reported) == (state, code, False)


def test_only_an_outcome_that_is_not_committed_is_repeated(tmp_path: Path) -> None:
    assert HueyTask().checkpoint(tmp_path) == ()
    (tmp_path / "outcome").touch()
    assert HueyTask().checkpoint(tmp_path) == ("outcome",)
    (tmp_path / "committed").touch()
    assert HueyTask().checkpoint(tmp_path) == ()
