"""The workflow protocol, and the rules all workflows share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from qmrunner.model import remedies
from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import STEP_LIVE, StepState

# Stages that only save time, and what the job does if they fail.
_HELPERS = {
    "preopt": "the DFT optimisation starts from the structure as it was",
    "hessian": "the DFT optimisation starts with NWChem's own guess of the Hessian",
}
# Code of a structure whose bonds differ from the input's, and the stages that can report it. If the Hessian's
# optimisation reports it, the job uses the structure from before that optimisation.
TOPOLOGY_CHANGED = "topology_changed"
_OPTIMISING = frozenset({"preopt", "optimise"})
_WITH_NOTES = frozenset({*_HELPERS, "optimise", "select"})
_NOT_STARTED = frozenset({StepState.WAITING, StepState.READY})


class Workflow(Protocol):
    """One kind of job. Every method is a pure function of its arguments."""

    def waits_for_all(self, job: Job, stage: str) -> bool:
        """Whether the plan stays the same until every step of this `stage` has ended, with or without success. A plan
        of thousands of steps takes long, so it is made once for such a stage.
        """
        ...

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        """The next steps, or the end of the job. Called at submission (no steps) and after each step's end. A second
        call with the same steps is harmless: a step whose name exists already is never added again.
        """
        ...

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        """The answer so far, JSON-ready, in the shape of `qmrunner result JOB --json`."""
        ...

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        """``{"text": …, "fraction": 0…1}`` from the states of the steps alone."""
        ...


def missing(specs: Iterable[StepSpec], steps: Sequence[Step]) -> tuple[StepSpec, ...]:
    """The given `specs` without those whose name a step has already."""
    names = {step.name for step in steps}
    return tuple(spec for spec in specs if spec.name not in names)


def by_name(steps: Sequence[Step]) -> dict[str, Step]:
    return {step.name: step for step in steps}


def broken(steps: Sequence[Step]) -> Plan | None:
    """How one failed or cancelled step ends a job in which every step is needed; None when there is none.

    Steps that have not started are skipped. A failure takes precedence over a cancellation, because users must see it.
    A held step ends nothing: the store holds its job, and later steps keep waiting.
    """
    for state, end in ((StepState.FAILED, "failed"), (StepState.CANCELLED, "cancelled")):
        culprit = next((step for step in steps if step.state == state), None)
        if culprit is not None:
            skip = tuple(step.name for step in steps if step.state in _NOT_STARTED)
            return Plan(skip=skip, end=_end(end, culprit))
    return None


def failed_helper(step: Step) -> bool:
    """Whether this is a failed step that only saves time: later steps can run without it.

    A structure that became another molecule does not count: the next program could produce the same molecule.
    """
    return step.stage in _HELPERS and step.state == StepState.FAILED and not became_another(step)


def became_another(step: Step) -> bool:
    """Whether a step failed because its structure became another molecule."""
    return step.stage in _OPTIMISING and step.state == StepState.FAILED and step.code == TOPOLOGY_CHANGED


def step_notes(steps: Sequence[Step], known: Sequence[str] = ()) -> list[str]:
    """Notes about the steps that users must know before they use the result: which helper failed and what was done
    instead, which conformer became another molecule, or a step's own notes, unless they are `known` already."""
    there, found = by_name(steps), []
    for step in steps:
        optimised = there.get(f"optimise-{step.name.partition('-')[2]}")
        if failed_helper(step) and optimised is not None:
            found.append(f"{step.name} failed ({step.code or 'no code'}): {_HELPERS[step.stage]}")
        elif became_another(step):
            found.append(f"{step.name} dropped its conformer: {step.summary or TOPOLOGY_CHANGED}")
        elif step.stage in _WITH_NOTES and step.state == StepState.SUCCEEDED:
            found += [
                f"{step.name}: {note}"
                for note in step.result.get("notes") or ()
                if not any(text.endswith(note) for text in (*known, *found))
            ]
    return found


def _end(state: Any, step: Step) -> JobEnd:
    reason = step.summary or (step.evidence.text if step.evidence else None) or step.code or "no reason recorded"
    return JobEnd(state, code=step.code or state, summary=f"{step.name} {state}: {reason}")


def succeeded(steps: Sequence[Step], name: str) -> bool:
    """Whether the step of this name is there and succeeded."""
    return any(step.name == name and step.state == StepState.SUCCEEDED for step in steps)


def count(steps: Sequence[Step], stage: str) -> tuple[int, int]:
    """How many steps of a stage succeeded, and how many there are; skipped ones count for neither."""
    chosen = [step for step in steps if step.stage == stage and step.state != StepState.SKIPPED]
    return sum(step.state == StepState.SUCCEEDED for step in chosen), len(chosen)


def active(steps: Sequence[Step]) -> tuple[str, ...]:
    """Names of the steps that an attempt is running now."""
    return tuple(step.name for step in steps if step.state in STEP_LIVE)


def answer(job: Job, steps: Sequence[Step]) -> dict[str, Any]:
    """The part of a result that every kind of job has: its identity, its request, and a summary of each step."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": str(job.state),
        "energy_hartree": None,
        "shifts": [],
        "conformers": [],
        "files": [],
        "provenance": {
            "input": dict(job.params),
            "steps": {step.name: _account(step) for step in steps},
            "remedies": [_remedy(step, record) for step in steps for record in remedies.applied(step.params)],
        },
    }


def _remedy(step: Step, record: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("remedy", "neutral", "code", "after", "change")
    return {"step": step.name, **{name: record[name] for name in shown}}


def _account(step: Step) -> dict[str, Any]:
    # Large tables are only in the step's own result.json.
    scalars = {key: value for key, value in step.result.items() if not isinstance(value, list)}
    return {
        "stage": step.stage,
        "engine": step.engine,
        "task": step.task,
        "params": {name: value for name, value in step.params.items() if name != remedies.KEY},
        "state": str(step.state),
        "attempts": step.attempt,
        "summary": step.summary,
        "result": scalars,
    }


def energy(result: Mapping[str, Any]) -> float | None:
    """A step's energy in hartree, or None when it has none."""
    value = result.get("energy_hartree")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
