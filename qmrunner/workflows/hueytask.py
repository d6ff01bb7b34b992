"""A task of a Huey application: one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import StepState
from qmrunner.workflows import base

TASK = "task"
_FOR_ENGINE = ("app", "task", "message", "cwd")


class HueyWorkflow:
    """The job ends as its step ends."""

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        if not steps:
            params = {key: job.params[key] for key in _FOR_ENGINE}
            return Plan(add=(StepSpec(name=TASK, stage=TASK, engine="huey", task=TASK, params=params),))
        ended = base.broken(steps)
        if ended is not None:
            return ended
        return Plan(end=JobEnd("succeeded", summary=steps[0].summary)) if base.succeeded(steps, TASK) else Plan()

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        answer = base.answer(job, steps)
        result = dict(steps[0].result) if steps else {}
        # Arguments may be secret, and a message can be run by whoever has it.
        for shown in (
            answer["provenance"]["input"],
            *(step["params"] for step in answer["provenance"]["steps"].values()),
        ):
            shown.pop("message", None)
        answer["result"] = {name: job.params[name] for name in ("app", "task", "huey_id")} | result
        return answer

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        if not steps:
            return {"text": "not planned yet", "fraction": 0.0}
        done = steps[0].state == StepState.SUCCEEDED
        return {"text": f"{TASK} {steps[0].state}", "fraction": 1.0 if done else 0.0}
