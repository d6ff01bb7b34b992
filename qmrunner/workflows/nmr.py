"""NMR: conformers → DFT optimisations → GIAO shieldings → Boltzmann-averaged shifts.

With ``--conformers none`` one chain (embed → xTB → NWChem optimisation → shielding → shifts), known from the start; the
xTB step only saves time, all other steps are needed. At level quick xTB's structure is the final one: its step is then
called `optimise`, and is needed. With other values of ``--conformers`` the job is an ensemble, whose steps are added as
outcomes become known: see `ensemble`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import StepState
from qmrunner.workflows import base, ensemble, specs
from qmrunner.workflows import progress as about
from qmrunner.workflows.conformers import account
from qmrunner.workflows.solvents import Solvent, by_key

_ONLY = "c1"
# Rough shares of the time, for the progress bar.
_CHAIN = (("embed", 0.02), ("preopt", 0.02), ("optimise", 0.56), ("shielding", 0.38), ("shifts", 0.02))
_QUICK_CHAIN = (("embed", 0.04), ("optimise", 0.03), ("shielding", 0.88), ("shifts", 0.05))
_ENSEMBLE = (("conformers", 0.03), ("preopt", 0.03), ("optimise", 0.55), ("shielding", 0.37), ("shifts", 0.02))
_QUICK_ENSEMBLE = (("conformers", 0.08), ("optimise", 0.06), ("shielding", 0.82), ("shifts", 0.04))
_COUNTED = (("optimised", "optimise"), ("shielding", "shielding"))
_ANSWER = (
    "shifts.csv",
    "geometry.xyz",
    "ensemble.xyz",
    "ensemble.json",
    "spectrum_1H.svg",
    "spectrum_13C.svg",
    "structure.svg",
    "nmredata.sdf",
)


class NmrWorkflow:
    """The chemical shifts of one molecule."""

    def waits_for_all(self, job: Job, stage: str) -> bool:
        return ensemble.waits_for_all(job, stage)

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        if not _single(job):
            found = ensemble.plan(job, steps)
            if found.end is not None and found.end.state == "succeeded":
                summary = _summary(_shifts(steps)) + ensemble.remark(steps)
                return Plan(end=JobEnd("succeeded", summary=summary))
            return found
        ended = base.broken([step for step in steps if not base.failed_helper(step)])
        if ended is not None:
            return ended
        if not base.succeeded(steps, "shifts"):
            return Plan(add=base.missing(_chain(job), steps))
        return Plan(end=JobEnd("succeeded", summary=_summary(_shifts(steps))))

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        result = _shifts(steps)
        answer = base.answer(job, steps)
        answer["solvent"], answer["level"] = job.params["solvent"], job.params["level"]
        answer["energy_hartree"] = base.energy(result)
        answer["shifts"] = result.get("shifts") or []
        notes = [*(job.params.get("notes") or ()), *(result.get("notes") or ())]
        answer["notes"] = [*notes, *base.step_notes(steps, notes)]
        if _single(job):
            answer["conformers"] = result.get("conformers") or [_unfinished(job, steps)]
        else:
            answer["conformers"] = ensemble.rows(job, steps)
            answer["provenance"]["conformers"] = account(job, steps)
        answer["files"] = [name for name in result.get("files") or () if name in _ANSWER]
        answer["provenance"].update(result.get("provenance") or {})
        answer["provenance"]["solvent"] = _solvent_account(by_key(job.params["solvent"]))
        return answer

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        there, quick = {step.stage for step in steps}, specs.xtb_structures(job)
        described = about.describe(steps, _counted(job, there))
        if not _single(job):
            shares = ensemble.stages(job, _QUICK_ENSEMBLE if quick else _ENSEMBLE)
            return described | {"fraction": about.fraction(steps, shares)}
        chain = _QUICK_CHAIN if quick else _CHAIN
        return described | {"fraction": about.fraction(steps, [share for share in chain if share[0] in there])}


def _single(job: Job) -> bool:
    return bool(job.params["conformers"] == "none")


def _counted(job: Job, there: Collection[str]) -> Sequence[tuple[str, str]]:
    """The stages that progress counts, among the stages `there` so far: pairs of a word and a stage."""
    if _single(job) or "optimise" in there:
        return _COUNTED
    # CREST's conformers are already optimised by xTB.
    return _COUNTED[1:] if specs.xtb_structures(job) else (("pre-optimised", "preopt"),)


def _chain(job: Job) -> tuple[StepSpec, ...]:
    """All steps of a job with one conformer, in order."""
    given = job.params.get("geometry")
    start = () if given else (specs.embed(job),)
    geometry, after = given or f"embed/{_ONLY}.xyz", () if given else ("embed",)
    optimised = (
        (specs.optimise_xtb(job, _ONLY, geometry, after),)
        if specs.xtb_structures(job)
        else (
            specs.preopt(job, _ONLY, geometry, after, hessian=True),
            specs.optimise(job, _ONLY, f"preopt-{_ONLY}", start=geometry),
        )
    )
    return (
        *start,
        *optimised,
        specs.shielding(job, _ONLY),
        specs.shifts(job, [{"id": _ONLY, "degeneracy": 1}]),
    )


def _shifts(steps: Sequence[Step]) -> Mapping[str, Any]:
    step = base.by_name(steps).get("shifts")
    return step.result if step is not None and step.state == StepState.SUCCEEDED else {}


def _summary(result: Mapping[str, Any]) -> str:
    rows = result.get("shifts") or []
    counts = [f"{sum(row['nucleus'] == nucleus for row in rows)} {nucleus}" for nucleus in ("1H", "13C")]
    return f"{' and '.join(counts)} shifts"


def _unfinished(job: Job, steps: Sequence[Step]) -> dict[str, Any]:
    own = [step for step in steps if step.name.endswith(f"-{_ONLY}") and not base.failed_helper(step)]
    ended = base.broken(own)
    found = base.by_name(steps).get(f"{'shielding' if specs.xtb_structures(job) else 'optimise'}-{_ONLY}")
    return {
        "id": _ONLY,
        "energy_hartree": base.energy(found.result) if found is not None else None,
        "weight": None,
        "state": ended.end.state if ended is not None and ended.end is not None else "running",
    }


def _solvent_account(solvent: Solvent) -> dict[str, Any]:
    return {
        "key": solvent.key,
        "label": solvent.label,
        "cosmo": solvent.cosmo,
        "dielectric": solvent.dielectric,
        "alpb": solvent.alpb,
        "note": solvent.note,
    }
