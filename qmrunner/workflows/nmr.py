"""NMR: start structure → xTB pre-optimisation → NWChem optimisation → GIAO shielding → shifts.

Each conformer has its own chain of steps, named after it (`optimise-c1`), and one `shifts` step joins them. The list of
conformers is `_conformers`; what follows from it does not depend on how many there are. One is kept for now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import StepState
from qmrunner.workflows import base
from qmrunner.workflows.levels import Level, find_level
from qmrunner.workflows.solvents import Solvent, by_key

# Rough shares of the time of a conformer, for the progress bar.
_SHARES = {"embed": 0.02, "preopt": 0.02, "optimise": 0.56, "shielding": 0.38, "shifts": 0.02}
_CANDIDATES = 10
_ANSWER = ("shifts.csv", "geometry.xyz", "spectrum_1H.svg", "spectrum_13C.svg")


class NmrWorkflow:
    """The chemical shifts of one molecule. Every step of a single conformer is needed, so one failure ends the job."""

    def plan(self, job: Job, steps: Sequence[Step]) -> Plan:
        ended = base.broken(steps)
        if ended is not None:
            return ended
        add = base.missing(_specs(job, steps), steps)
        if not base.succeeded(steps, "shifts"):
            return Plan(add=add)
        return Plan(end=JobEnd("succeeded", summary=_summary(_shifts(steps))))

    def result(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        said = _shifts(steps)
        answer = base.answer(job, steps)
        answer["solvent"], answer["level"] = job.params["solvent"], job.params["level"]
        answer["energy_hartree"] = base.energy(said)
        answer["shifts"] = said.get("shifts") or []
        answer["conformers"] = said.get("conformers") or [_unfinished(c, steps) for c in _conformers(job, steps)]
        answer["files"] = _files(said)
        answer["provenance"].update(said.get("provenance") or {})
        answer["provenance"]["solvent"] = _solvent_account(by_key(job.params["solvent"]))
        return answer

    def progress(self, job: Job, steps: Sequence[Step]) -> dict[str, Any]:
        optimised, to_optimise = base.count(steps, "optimise")
        shielded, to_shield = base.count(steps, "shielding")
        text = f"optimised {optimised}/{to_optimise}, shielding {shielded}/{to_shield}"
        running = base.active(steps)
        if running:
            text += f", running {', '.join(running)}"
        return {"text": text, "fraction": _fraction(steps)}


def _conformers(job: Job, steps: Sequence[Step]) -> tuple[str, ...]:
    """The ids of the conformers known by now."""
    return ("c1",)


def _specs(job: Job, steps: Sequence[Step]) -> tuple[StepSpec, ...]:
    """All steps the job needs, as far as they can be told by now, in order."""
    ids = _conformers(job, steps)
    start = () if job.params.get("geometry") else (_embed(job),)
    chains = tuple(spec for conformer in ids for spec in _chain(job, conformer))
    return (*start, *chains, _join(job, ids))


def _embed(job: Job) -> StepSpec:
    source = job.params["input"]
    params = {"atoms": job.params["atoms"], "candidates": _CANDIDATES, "keep": 1}
    if "smiles" in source:
        return StepSpec("embed", "embed", "chemistry", "embed", params={**params, "smiles": source["smiles"]})
    inputs = {"structure": f"input/{source['file']}"}
    return StepSpec("embed", "embed", "chemistry", "embed", params=params, inputs=inputs)


def _chain(job: Job, conformer: str) -> tuple[StepSpec, ...]:
    """Pre-optimisation, optimisation and shielding of one conformer."""
    level, solvent = find_level(job.params["level"]), by_key(job.params["solvent"])
    preopt, optimise, shielding = (f"{stage}-{conformer}" for stage in ("preopt", "optimise", "shielding"))
    given = job.params.get("geometry")
    electrons = {"charge": job.params["charge"], "multiplicity": job.params["multiplicity"]}
    atoms = {"atoms": job.params["atoms"]}
    return (
        StepSpec(
            preopt,
            "preopt",
            "xtb",
            "optimise",
            params={**electrons, "alpb": solvent.alpb, **atoms},
            inputs={"geometry": given or f"embed/{conformer}.xyz"},
            after=() if given else ("embed",),
        ),
        StepSpec(
            optimise,
            "optimise",
            "nwchem",
            "optimise",
            params={**_dft(electrons, level, level.optimise_basis, solvent, level.optimise_steps), **atoms},
            inputs={"geometry": f"{preopt}/geometry.xyz"},
            after=(preopt,),
        ),
        StepSpec(
            shielding,
            "shielding",
            "nwchem",
            "shielding",
            params={**_dft(electrons, level, level.shielding_basis, solvent, level.response_iterations), **atoms},
            inputs={"geometry": f"{optimise}/geometry.xyz"},
            after=(optimise,),
        ),
    )


def _dft(
    electrons: Mapping[str, int], level: Level, basis: str, solvent: Solvent, max_iterations: int
) -> dict[str, Any]:
    return {
        **electrons,
        "functional": level.functional,
        "basis": basis,
        "cosmo": solvent.cosmo,
        "max_iterations": max_iterations,
    }


def _join(job: Job, ids: Sequence[str]) -> StepSpec:
    inputs: dict[str, str] = {}
    for conformer in ids:
        inputs[f"shielding-{conformer}"] = f"shielding-{conformer}/result.json"
        inputs[f"optimise-{conformer}"] = f"optimise-{conformer}/result.json"
        inputs[f"geometry-{conformer}"] = f"optimise-{conformer}/geometry.xyz"
    keys = ("atoms", "bonds", "charge", "multiplicity", "smiles", "solvent", "level", "temperature_k")
    return StepSpec(
        "shifts",
        "shifts",
        "chemistry",
        "shifts",
        params={**{key: job.params[key] for key in keys}, "conformers": list(ids)},
        inputs=inputs,
        after=tuple(f"shielding-{conformer}" for conformer in ids),
    )


def _shifts(steps: Sequence[Step]) -> Mapping[str, Any]:
    step = base.by_name(steps).get("shifts")
    return step.result if step is not None and step.state == StepState.SUCCEEDED else {}


def _summary(said: Mapping[str, Any]) -> str:
    rows = said.get("shifts") or []
    counts = [f"{sum(row['nucleus'] == nucleus for row in rows)} {nucleus}" for nucleus in ("1H", "13C")]
    return f"{' and '.join(counts)} shifts"


def _unfinished(conformer: str, steps: Sequence[Step]) -> dict[str, Any]:
    mine = [step for step in steps if step.name.endswith(f"-{conformer}")]
    ended = base.broken(mine)
    found = base.by_name(steps).get(f"optimise-{conformer}")
    return {
        "id": conformer,
        "energy_hartree": base.energy(found.result) if found is not None else None,
        "weight": None,
        "state": ended.end.state if ended is not None and ended.end is not None else "running",
    }


def _files(said: Mapping[str, Any]) -> list[str]:
    """Files of the answer at the top of the job's folder."""
    return [name for name in said.get("files") or () if name in _ANSWER]


def _solvent_account(solvent: Solvent) -> dict[str, Any]:
    return {
        "key": solvent.key,
        "label": solvent.label,
        "cosmo": solvent.cosmo,
        "dielectric": solvent.dielectric,
        "alpb": solvent.alpb,
        "note": solvent.note,
    }


def _fraction(steps: Sequence[Step]) -> float:
    needed = [step for step in steps if step.state != StepState.SKIPPED]
    total = sum(_SHARES.get(step.stage, 0.0) for step in needed)
    done = sum(_SHARES.get(step.stage, 0.0) for step in needed if step.state == StepState.SUCCEEDED)
    return round(done / total, 4) if total else 0.0
