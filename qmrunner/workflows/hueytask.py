"""A task of a Huey application: one step, and a second one that reports an end to the application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmrunner.model.app_tasks import REPORTED, TASK, TELL, demand_of, newest_try, step_name
from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import STEP_FINAL, StepState
from qmrunner.workflows import base

_FOR_ENGINE = ("app", "task", "message", "cwd", "words", "tmpdir", "stop", "fence")
_TOLD_CODES = frozenset(REPORTED.values())


class HueyWorkflow:
    """The job ends as its task ends. Each try that Huey itself makes has separate steps."""

    def waits_for_all(self, job: Job, stage: str) -> bool:
        return False

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        steps = newest_try(job.params, steps)
        if not steps:
            return Plan(add=(_spec(job, TASK),))
        if "reports" in job.params:
            reported = base.succeeded(steps, TELL)
            return Plan(end=JobEnd("succeeded", summary=steps[0].summary)) if reported else base.broken(steps) or Plan()
        task, tell = steps[0], next(iter(steps[1:]), None)
        if task.state == StepState.FAILED and task.code not in _TOLD_CODES:
            if tell is None:
                return Plan(
                    add=(_spec(job, TELL, attempts=task.attempt, why=task.summary or task.code, reported=task.name),)
                )
            if tell.state not in STEP_FINAL:
                return Plan()
        ended = base.broken(steps)
        if ended is not None:
            return ended
        return Plan(end=JobEnd("succeeded", summary=task.summary)) if base.succeeded(steps, task.name) else Plan()

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        answer = base.answer(job, steps)
        newest = newest_try(job.params, steps)
        result = dict(newest[0].result) if newest else {}
        # Arguments may be secret, and a message is enough to run the task.
        params = (step["params"] for step in answer["provenance"]["steps"].values())
        for shown in (answer["provenance"]["input"], *params):
            for name in ("message", "token", "tokens"):
                shown.pop(name, None)
        answer["result"] = {name: job.params.get(name) for name in ("app", "task", "huey_id")} | result
        return answer

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        if not steps:
            return {"text": "not planned yet", "fraction": 0.0}
        newest = newest_try(job.params, steps) or steps
        done = newest[0].state == StepState.SUCCEEDED
        return {"text": f"{steps[-1].name} {steps[-1].state}", "fraction": 1.0 if done else 0.0}


def _spec(job: Job, stage: str, **more: Any) -> StepSpec:
    params = {key: job.params[key] for key in _FOR_ENGINE if key in job.params} | more
    demand = demand_of(params.get("words") or {}) if stage == TASK else demand_of({})
    name = step_name(stage, int(job.params.get("tries", 1)))
    return StepSpec(name=name, stage=stage, engine="huey", task=stage, params=params, demand=demand)
