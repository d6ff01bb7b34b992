"""The next steps of an ensemble of conformers: a pure function of the job and its steps so far.

conformers → one xTB optimisation each → `select-xtb` → for each kept conformer an xTB Hessian and a DFT optimisation →
`select-dft` → one shielding each → shifts. A stage is planned when the previous one has ended. A conformer whose step
failed is dropped, and the result lists it. The job fails when the dropped conformers held more than `max_lost_weight`
of the Boltzmann weight, by the best energies known at that stage. This check comes before the next stage is planned, so
that `retry` can still repair failed steps. A conformer that became another molecule (`topology_changed`) is dropped,
too, but had no weight in this molecule: the job fails only when no conformer is left. If a remedy replaced CREST's
search, RDKit's search takes its place. If xTB's structures are the final ones, its optimisation is the stage
`optimise`, and the shieldings of the conformers that `select-xtb` keeps follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.model import remedies
from qmrunner.model.jobs import Job, JobEnd, Plan, Step, StepSpec
from qmrunner.model.states import StepState
from qmrunner.model.units import BOLTZMANN_HARTREE_PER_K, HARTREE_PER_KCAL
from qmrunner.workflows import base, specs

# Conformers may fail in these; every other step is needed. Without its Hessian a conformer only takes longer.
CONFORMER_STAGES = ("preopt", "hessian", "optimise", "shielding")
_OVER = frozenset({StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED})
_FAILED = frozenset({StepState.FAILED, StepState.SKIPPED})


@dataclass(frozen=True, slots=True)
class Member:
    """A conformer at the start of a stage: energy in hartree from the previous stage, None when there is none."""

    id: str
    energy_hartree: float | None
    degeneracy: int = 1


def plan(job: Job, steps: Sequence[Step]) -> Plan:
    """The next steps, or the end of the job. See the module."""
    ended = base.broken([step for step in steps if _counts(job, step)])
    if ended is not None:
        waiting = tuple(s.name for s in steps if s.state in (StepState.WAITING, StepState.READY))
        return Plan(skip=waiting, end=ended.end)
    add, end = _next(job, steps)
    return Plan(add=base.missing(add, steps), end=end)


def waits_for_all(job: Job, stage: str) -> bool:
    """Whether this stage is judged as a whole. The optimisation of each conformer follows its own Hessian."""
    return job.params["conformers"] != "none" and stage in CONFORMER_STAGES and stage != "hessian"


def _counts(job: Job, step: Step) -> bool:
    """Whether the job ends when this step ends without success."""
    if step.state == StepState.FAILED and step.name == specs.CONFORMERS and search_of(job, [step]) != step.name:
        return False
    return needed(step) or step.state == StepState.CANCELLED


def search_of(job: Job, steps: Sequence[Step]) -> str:
    """The name of the step that finds the conformers; RDKit can replace CREST only if the SMILES is known, because it
    needs bond orders."""
    own = base.by_name(steps).get(specs.CONFORMERS)
    given_up = own is not None and remedies.replaced(own) and job.params.get("smiles") is not None
    return specs.CONFORMERS_INSTEAD if given_up else specs.CONFORMERS


def needed(step: Step) -> bool:
    """Whether the job cannot succeed without this step."""
    return step.stage not in CONFORMER_STAGES


def _next(job: Job, steps: Sequence[Step]) -> tuple[list[StepSpec], JobEnd | None]:
    """All steps that can be planned by now, and the end of the job if it has been reached."""
    search = search_of(job, steps)
    found = [*_start(job), *([specs.search(job, search)] if search != specs.CONFORMERS else [])]
    members, plain = candidates(job, steps), list[Member]()
    alive: list[str] | None = []
    if members is None:
        return found, None
    if job.params["conformers"] == "crest" and search == specs.CONFORMERS:
        found.append(specs.select_ensemble(job))
        alive = [member.id for member in members]
    else:
        stage = xtb_stage(job)
        own, alive, end = _stage(job, steps, stage, members, lambda conformer: _by_xtb(job, conformer, search))
        found += own
        plain = _plain(job, steps, members) if end is not None else []
        if not plain and (end is not None or alive is None):
            return found, end
        alive = alive or [member.id for member in members if base.succeeded(steps, f"{stage}-{member.id}")]
        if alive:
            found.append(specs.select(job, specs.SELECT_XTB, stage, alive))
    chosen = kept(steps, specs.SELECT_XTB) if alive else []
    if chosen is None:
        return found, None
    if job.kind == "conformers":
        return found, JobEnd("succeeded", summary=f"{len(chosen)} conformers kept{remark(steps)}")
    if specs.xtb_structures(job):
        return _shield(job, steps, chosen, specs.SELECT_XTB, found)
    return _calculate(job, steps, chosen, plain, found)


def xtb_stage(job: Job) -> str:
    """The stage in which xTB optimises the conformers that were found or given."""
    return "optimise" if specs.xtb_structures(job) else "preopt"


def _plain(job: Job, steps: Sequence[Step], members: Sequence[Member]) -> list[Member]:
    """Conformers that the job needs although xTB failed on them: the DFT optimisation takes them as the search left
    them, at most as many as may be kept. Their energies cannot be compared with xTB's.
    """
    if job.kind != "nmr" or specs.xtb_structures(job):
        return []
    there = base.by_name(steps)
    failed = [member for member in members if base.failed_helper(there[f"preopt-{member.id}"])]
    return [Member(member.id, None, member.degeneracy) for member in failed[: job.params["max_conformers"]]]


def _calculate(
    job: Job, steps: Sequence[Step], chosen: Sequence[Member], plain: Sequence[Member], found: list[StepSpec]
) -> tuple[list[StepSpec], JobEnd | None]:
    """The steps from the conformers that xTB optimised, and those that it could not, to the shifts."""
    found += [specs.hessian(job, member.id) for member in chosen]
    alone = {member.id for member in plain}

    def optimise(conformer: str) -> StepSpec | None:
        return _optimise_plain(job, steps, conformer) if conformer in alone else _optimise(job, steps, conformer)

    own, alive, end = _stage(job, steps, "optimise", [*chosen, *plain], optimise)
    found += own
    if end is not None or alive is None:
        return found, end
    found.append(specs.select(job, specs.SELECT_DFT, "optimise", alive))
    final = kept(steps, specs.SELECT_DFT)
    return (found, None) if final is None else _shield(job, steps, final, specs.SELECT_DFT, found)


def _shield(
    job: Job, steps: Sequence[Step], final: Sequence[Member], choice: str, found: list[StepSpec]
) -> tuple[list[StepSpec], JobEnd | None]:
    """The steps from the conformers that the last selection kept to the shifts."""
    own, alive, end = _stage(job, steps, "shielding", final, lambda conformer: specs.shielding(job, conformer, choice))
    found += own
    if end is not None or alive is None:
        return found, end
    fold = {member.id: member.degeneracy for member in final}
    found.append(specs.shifts(job, [{"id": conformer, "degeneracy": fold[conformer]} for conformer in alive]))
    return found, JobEnd("succeeded") if base.succeeded(steps, "shifts") else None


def _start(job: Job) -> list[StepSpec]:
    """The steps before the candidates are known: none for submitted structures."""
    source = job.params["conformers"]
    if source == "crest":
        return [*([] if job.params.get("geometry") else [specs.embed(job)]), specs.crest(job)]
    return [specs.search(job)] if source == "rdkit" else []


def stages(job: Job, shares: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The given `shares` without stages that such a job does not have."""
    without = {"given": "conformers", "crest": xtb_stage(job)}.get(job.params["conformers"])
    return [share for share in shares if share[0] != without]


def candidates(job: Job, steps: Sequence[Step]) -> list[Member] | None:
    """The conformers before any selection, in order; None while they are unknown."""
    if job.params["conformers"] == "given":
        return [Member(f"c{number}", None) for number in range(1, len(job.params["structures"]) + 1)]
    step = base.by_name(steps).get(search_of(job, steps))
    if step is None or step.state != StepState.SUCCEEDED:
        return None
    found = []
    for number, row in enumerate(step.result.get("conformers") or (), start=1):
        kcal = row.get("energy_kcal_mol")
        energy = base.energy(row) if kcal is None else float(kcal) * HARTREE_PER_KCAL
        found.append(Member(str(row.get("id") or f"c{number}"), energy))
    return found


def kept(steps: Sequence[Step], name: str) -> list[Member] | None:
    """The conformers that a `select` step kept, lowest energy first; None before it succeeded."""
    step = base.by_name(steps).get(name)
    if step is None or step.state != StepState.SUCCEEDED:
        return None
    rows = [row for row in step.result.get("conformers") or () if row.get("state") == "kept"]
    return [Member(str(row["id"]), base.energy(row), int(row.get("degeneracy") or 1)) for row in rows]


def remark(steps: Sequence[Step]) -> str:
    """An addition to the job's summary if its conformers come from an interrupted search."""
    step = base.by_name(steps).get("conformers")
    return ", of a partial search" if step is not None and step.result.get("partial") else ""


def _by_xtb(job: Job, conformer: str, search: str) -> StepSpec:
    optimise = specs.optimise_xtb if specs.xtb_structures(job) else specs.preopt
    return optimise(job, conformer, *_source(job, conformer, search))


def _source(job: Job, conformer: str, search: str) -> tuple[str, tuple[str, ...]]:
    """The path of a conformer as the search or the user left it, and the steps that produce it."""
    if job.params["conformers"] == "given":
        return job.params["structures"][int(conformer[1:]) - 1], ()
    return f"{search}/{conformer}.xyz", (search,)


def _optimise_plain(job: Job, steps: Sequence[Step], conformer: str) -> StepSpec:
    return specs.optimise_plain(job, conformer, *_source(job, conformer, search_of(job, steps)))


def _optimise(job: Job, steps: Sequence[Step], conformer: str) -> StepSpec | None:
    """The DFT optimisation; None while the step of its Hessian has not ended."""
    hessian = base.by_name(steps).get(f"hessian-{conformer}")
    if hessian is None or hessian.state not in _OVER:
        return None
    return specs.optimise(job, conformer, hessian.name if hessian.state == StepState.SUCCEEDED else specs.SELECT_XTB)


def _stage(
    job: Job, steps: Sequence[Step], stage: str, members: Sequence[Member], spec: Callable[[str], StepSpec | None]
) -> tuple[list[StepSpec], list[str] | None, JobEnd | None]:
    """The steps of a stage that can be planned; once the stage has ended, the conformers that passed it, or the job's
    end if too few passed."""
    own = [step for member in members if (step := spec(member.id)) is not None]
    there = base.by_name(steps)
    states = {member.id: there[f"{stage}-{member.id}"].state for member in members if f"{stage}-{member.id}" in there}
    if not members:
        return own, None, JobEnd("failed", "no_conformers", _NONE_LEFT)
    if len(states) < len(members) or not all(state in _OVER for state in states.values()):
        return own, None, None
    lost = [member for member in members if states[member.id] in _FAILED]
    alive = [member.id for member in members if states[member.id] == StepState.SUCCEEDED]
    if not alive:
        return own, None, _all_failed(stage, [there[f"{stage}-{member.id}"] for member in lost])
    another = [member for member in members if base.became_another(there[f"{stage}-{member.id}"])]
    members, lost = _without(members, another), _without(lost, another)
    share, limit = lost_weight(members, lost, float(job.params["temperature_k"])), float(job.params["max_lost_weight"])
    if share > limit:
        return own, None, _too_much_lost(stage, lost, share, limit, there)
    return own, alive, None


def _without(members: Sequence[Member], some: Sequence[Member]) -> list[Member]:
    return [member for member in members if member not in some]


_NONE_LEFT = "there is no conformer: submit with --conformers none, or give a three-dimensional structure"


def lost_weight(members: Sequence[Member], lost: Sequence[Member], temperature_k: float) -> float:
    """The part of the Boltzmann weight that `lost` holds among `members`; an unknown energy counts as the lowest."""
    known = [member.energy_hartree for member in members if member.energy_hartree is not None]
    lowest = min(known, default=0.0)
    scale = BOLTZMANN_HARTREE_PER_K * temperature_k
    shares = {
        member.id: member.degeneracy
        * math.exp(-((lowest if member.energy_hartree is None else member.energy_hartree) - lowest) / scale)
        for member in members
    }
    return sum(shares[member.id] for member in lost) / sum(shares.values())


def _all_failed(stage: str, failed: Sequence[Step]) -> JobEnd:
    first = failed[0]
    if all(map(base.became_another, failed)):
        text = f"all {len(failed)} conformers failed in {stage}, the first: {first.summary or first.code}"
        return JobEnd("failed", base.TOPOLOGY_CHANGED, text)
    reason = first.summary or (first.evidence.text if first.evidence else None) or first.code or "no reason recorded"
    text = (
        f"all {len(failed)} conformers failed in {stage}, the first: {reason}. Check structure, charge and multiplicity"
    )
    return JobEnd("failed", "all_conformers_failed", text)


def _too_much_lost(stage: str, lost: Sequence[Member], share: float, limit: float, there: Mapping[str, Step]) -> JobEnd:
    names = ", ".join(f"{member.id} ({there[f'{stage}-{member.id}'].code or 'failed'})" for member in lost)
    text = (
        f"{share:.0%} of the Boltzmann weight is lost, more than the {limit:.0%} allowed: {names} failed in {stage}. "
        "Retry, or submit again with a higher --max-lost-weight"
    )
    return JobEnd("failed", "weight_lost", text)


def rows(job: Job, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """One row per conformer: `id`, `energy_hartree` (the best known), `weight`, `degeneracy`, `state` and `reason`."""
    there = base.by_name(steps)
    members = candidates(job, steps) or []
    table: dict[str, dict[str, Any]] = {
        member.id: {"id": member.id, "energy_hartree": None, "weight": None, "degeneracy": 1, "state": "running"}
        | {"reason": None}
        for member in members
    }
    for stage, choice in _choices(job):
        # xTB failed on these; they stay as the search left them.
        plain = {conformer for conformer in table if choice == specs.SELECT_XTB and _went_on(there, conformer)}
        for row in table.values():
            if row["id"] not in plain:
                _after(row, stage, there.get(f"{stage}-{row['id']}"))
        rest = {conformer: row for conformer, row in table.items() if conformer not in plain}
        _chosen(rest, there.get(choice), final=choice == "shifts" or job.kind == "conformers")
    return sorted(table.values(), key=lambda row: (row["state"] != "kept", int(row["id"][1:])))


def _choices(job: Job) -> tuple[tuple[str, str], ...]:
    """Each stage of the conformers with the step that selects among the conformers that passed it."""
    by_dft = () if specs.xtb_structures(job) else (("optimise", specs.SELECT_DFT),)
    return ((xtb_stage(job), specs.SELECT_XTB), *by_dft, ("shielding", "shifts"))


def _went_on(there: Mapping[str, Step], conformer: str) -> bool:
    preopt = there.get(f"preopt-{conformer}")
    return preopt is not None and base.failed_helper(preopt) and f"optimise-{conformer}" in there


def _after(row: dict[str, Any], stage: str, step: Step | None) -> None:
    if step is None or row["state"] == "dropped":
        return
    if step.state == StepState.SUCCEEDED and stage != "shielding":
        row["energy_hartree"] = base.energy(step.result)
    if step.state in _FAILED or step.state == StepState.CANCELLED:
        reason = step.summary or (step.evidence.text if step.evidence else None) or "no reason recorded"
        row["state"], row["reason"] = "dropped", f"{stage} {step.state}: {step.code or 'no code'}: {reason}"


def _chosen(table: Mapping[str, dict[str, Any]], step: Step | None, final: bool) -> None:
    if step is None or step.state != StepState.SUCCEEDED:
        return
    by_id = {str(row["id"]): row for row in step.result.get("conformers") or ()}
    for row in table.values():
        if row["state"] == "dropped":
            continue
        found = by_id.get(row["id"])
        if found is None:
            row["state"], row["reason"] = "dropped", f"it was not ready when {step.name} was made"
            continue
        row["energy_hartree"], row["degeneracy"] = base.energy(found), found.get("degeneracy", 1)
        row["weight"] = found.get("weight")
        if found.get("relative_kcal_mol") is not None:
            row["relative_kcal_mol"] = found["relative_kcal_mol"]
        if found.get("state") != "kept":
            row["state"], row["reason"] = "dropped", f"{step.name}: {found.get('reason')}"
        elif final:
            row["state"] = "kept"
