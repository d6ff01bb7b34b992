"""How many steps of which kind a job may have, and what each costs by rule, before any of them exists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from qmrunner.app import App
from qmrunner.model.jobs import Demand, Job, Step, StepSpec, Submission
from qmrunner.model.states import JobState, StepState
from qmrunner.submission.molecule import dft_core_s
from qmrunner.workflows import specs

_EPOCH = datetime.fromtimestamp(0, UTC)
_ANY = "c1"
# Core seconds by rule where the store has no such run. Assumed, not measured: an order of magnitude, until runs of this
# store replace them.
_CHEMISTRY_S, _XTB_START_S, _XTB_ATOM_S, _HESSIAN, _CREST_ATOM_S = 2.0, 0.3, 0.002, 8.0, 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """Steps of one stage: one of them as an example, and how many there are at least and at most."""

    step: Step
    least: int
    most: int


def parts(app: App, made: Submission) -> list[Part]:
    """The stages of a job in their order. Exact for jobs with one structure; an ensemble keeps what it finds."""
    job = _job(made)
    planned = app.planner(job, []).add
    if job.kind not in ("nmr", "conformers") or job.params["conformers"] == "none":
        return [Part(_step(app, spec), 1, 1) for spec in planned]
    found = [Part(_step(app, spec), 1, 1) for spec in planned if spec.stage in ("embed", "conformers")]
    candidates, kept = _numbers(job)
    after = (specs.SELECT_XTB,)

    def add(spec: StepSpec, most: int) -> None:
        found.append(Part(_step(app, spec), most if most == 1 else max(1, most // 3), most))

    by_xtb = specs.xtb_structures(job)
    if candidates:
        make = specs.optimise_xtb if by_xtb else specs.preopt
        add(make(job, _ANY, "input/any.xyz", ()), candidates)
    add(specs.select(job, specs.SELECT_XTB, "preopt", [_ANY]), 1)
    if job.kind == "conformers":
        return found
    if not by_xtb:
        add(specs.hessian(job, _ANY), kept)
        add(specs.optimise(job, _ANY, specs.SELECT_XTB), kept)
        add(specs.select(job, specs.SELECT_DFT, "optimise", [_ANY]), 1)
    add(specs.shielding(job, _ANY, *after), kept)
    add(specs.shifts(job, [{"id": _ANY, "degeneracy": 1}]), 1)
    return found


def rule_core_s(step: Step) -> float | None:
    """Core seconds of a step by rule; None for a user's own input, whose work is unknown."""
    symbols = step.params.get("atoms") or ()
    if step.engine == "chemistry":
        return _CHEMISTRY_S
    if step.engine == "nwchem" and step.task in ("optimise", "shielding"):
        return dft_core_s(step.task, symbols, step.params["basis"])
    if step.engine == "xtb" and step.task == "optimise":
        seconds = _XTB_START_S + _XTB_ATOM_S * len(symbols) ** 2
        return seconds * (_HESSIAN if step.params.get("hessian") else 1.0)
    if step.engine == "crest" and step.task == "conformers":
        return _CREST_ATOM_S * len(symbols) ** 2
    return None


def _numbers(job: Job) -> tuple[int, int]:
    """How many structures xTB optimises, 0 where CREST has done that, and how many conformers are kept at most."""
    params = job.params
    if params["conformers"] == "crest":
        return 0, int(params["max_conformers"])
    given = len(params.get("structures") or ())
    candidates = given or min(int(params["candidates"]), int(params["candidates_kept"]))
    return candidates, min(candidates, int(params["max_conformers"] or candidates))


def _job(made: Submission) -> Job:
    return Job(
        id="", seq=0, kind=made.kind, state=JobState.QUEUED, params=made.params, name=made.name,
        priority=made.priority, key=None, code=None, summary=None, created_at=_EPOCH, started_at=None,
        finished_at=None, owner=made.owner, requires=made.requires, group=made.group,
    )  # fmt: skip


def _step(app: App, spec: StepSpec) -> Step:
    demand: Demand = spec.demand or app.engine(spec.engine).demand(spec.task, spec.params)
    return Step(
        id=0, job_id="", name=spec.name, stage=spec.stage, engine=spec.engine, task=spec.task, params=spec.params,
        inputs=spec.inputs, after=spec.after, demand=replace(demand), state=StepState.WAITING, attempt=0, retries=0,
        priority=0, not_before=None, worker_id=None, code=None, failure_class=None, evidence=None, remedy=None,
        summary=None, result={}, created_at=_EPOCH, started_at=None, finished_at=None,
    )  # fmt: skip
