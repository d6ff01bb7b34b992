"""Conformer ensembles alone: RDKit or CREST, xTB, energy window, duplicates. See `ensemble`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.model.jobs import Job, Plan, Step
from qmrunner.model.states import StepState
from qmrunner.workflows import base, ensemble, specs
from qmrunner.workflows import progress as about
from qmrunner.workflows.solvents import by_key

_SHARES = (("conformers", 0.3), ("preopt", 0.5), ("select", 0.2))
_FILES = ("ensemble.xyz", "geometry.xyz")
_TOLD = (
    "conformers_asked",
    "conformers",
    "conformers_note",
    "rotors",
    "candidates",
    "max_conformers",
    "max_conformers_asked",
    "window_xtb_kcal",
    "window_dft_kcal",
    "max_lost_weight",
)


class ConformersWorkflow:
    """Ends with the ensemble, with energies and weights of xTB."""

    def waits_for_all(self, job: Job, stage: str) -> bool:
        return ensemble.waits_for_all(job, stage)

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        return ensemble.plan(job, steps)

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        answer = base.answer(job, steps)
        chosen = base.by_name(steps).get(specs.SELECT_XTB)
        if chosen is not None and chosen.state == StepState.SUCCEEDED:
            answer["energy_hartree"] = base.energy(chosen.result)
            answer["files"] = list(_FILES)
        answer["solvent"] = job.params["solvent"]
        answer["conformers"] = ensemble.rows(job, steps)
        answer["provenance"]["conformers"] = account(job, steps)
        answer["notes"] = [*(job.params.get("notes") or ()), *base.step_notes(steps)]
        return answer

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        described = about.describe(steps, (("pre-optimised", "preopt"),))
        share = about.fraction(steps, ensemble.stages(job, _SHARES))
        return described | {"fraction": share}


def account(job: Job, steps: Sequence[Step]) -> Mapping[str, Any]:
    """The source of the conformers, how many the search dropped and why, and the limits of the selection."""
    found = {key: job.params[key] for key in _TOLD if key in job.params}
    search = ensemble.search_of(job, steps)
    step = base.by_name(steps).get(search)
    if search == specs.CONFORMERS_INSTEAD:
        given_up = base.by_name(steps)[specs.CONFORMERS]
        found["conformers_note"] = f"CREST failed ({given_up.code}), so RDKit searched instead, as an allowed remedy"
    if step is not None:
        for key in ("partial", "iterations", "force_field", "dropped", "notes"):
            if step.result.get(key):
                found[key] = step.result[key]
    if job.params.get("temperature_k") is not None:
        found["temperature_k"] = job.params["temperature_k"]
    solvent = by_key(job.params["solvent"])
    return found | {"solvent_xtb": solvent.alpb}
