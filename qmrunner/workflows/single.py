"""Jobs of one step: a user's own NWChem deck, xTB or CREST run. The job ends as its step ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import StepState
from qmrunner.workflows import base

# These job.params are for the engine; all others describe the job.
_FOR_ENGINE = ("deck", "structure", "args", "atoms", "memory_mib_per_rank", "resumes", "qcschema")


@dataclass(frozen=True, slots=True)
class SingleWorkflow:
    """Runs `engine` once with `task`. The step is called after the engine."""

    engine: str
    task: str

    def waits_for_all(self, job: Job, stage: str) -> bool:
        return False

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        if not steps:
            return Plan(add=(self._spec(job),))
        ended = base.broken(steps)
        if ended is not None:
            return ended
        return Plan(end=JobEnd("succeeded", summary=steps[0].summary)) if base.succeeded(steps, self.engine) else Plan()

    def _spec(self, job: Job) -> StepSpec:
        return StepSpec(
            name=self.engine,
            stage=self.engine,
            engine=self.engine,
            task=self.task,
            params={key: job.params[key] for key in _FOR_ENGINE if key in job.params},
            inputs={name: f"input/{name}" for name in job.params["files"]},
        )

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        result = dict(steps[0].result) if steps else {}
        answer = base.answer(job, steps)
        answer["energy_hartree"] = base.energy(result)
        answer |= {name: result[name] for name in ("energy_of", "tasks") if name in result}
        answer["conformers"] = result.get("conformers") or []
        answer["files"] = [f"{self.engine}/{name}" for name in result.get("files") or ()]
        answer["result"] = result
        answer["notes"] = [*(job.params.get("notes") or ()), *(result.get("notes") or ())]
        return answer

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        if not steps:
            return {"text": "not planned yet", "fraction": 0.0}
        done = steps[0].state == StepState.SUCCEEDED
        return {"text": f"{self.engine} {steps[0].state}", "fraction": 1.0 if done else 0.0}
