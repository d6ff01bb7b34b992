"""The steps an NMR or conformer job is made of, as values. Each conformer has its own, named after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qmrunner.model.jobs import OPTIONAL, Job, StepSpec
from qmrunner.workflows.levels import Level, find_level
from qmrunner.workflows.solvents import Solvent, by_key

_CANDIDATES = 10
SELECT_XTB, SELECT_DFT = "select-xtb", "select-dft"
CONFORMERS, CONFORMERS_INSTEAD = "conformers", "conformers-rdkit"
# CREST searches less thoroughly, and several times faster, below production.
CREST_QUICK = {"quick": "quick", "draft": "quick", "production": None}
ALLOW = "allow_topology_change"
_JOIN = ("atoms", "bonds", "charge", "multiplicity", "smiles", "solvent", "level", "temperature_k")


def embed(job: Job) -> StepSpec:
    """One start structure."""
    params, inputs = _source(job)
    params |= {"atoms": job.params["atoms"], "candidates": _CANDIDATES, "keep": 1}
    return StepSpec("embed", "embed", "chemistry", "embed", params=params, inputs=inputs)


def search(job: Job, name: str = CONFORMERS) -> StepSpec:
    """Conformers by RDKit."""
    params, inputs = _source(job)
    keys = ("atoms", "charge", "candidates")
    params |= {key: job.params[key] for key in keys} | {"keep": job.params["candidates_kept"]} | _same_molecule(job)
    return StepSpec(name, "conformers", "chemistry", "search", params=params, inputs=inputs)


def crest(job: Job) -> StepSpec:
    """Conformers by CREST."""
    given = job.params.get("geometry")
    return StepSpec(
        "conformers",
        "conformers",
        "crest",
        "conformers",
        params={
            **_electrons(job),
            "alpb": by_key(job.params["solvent"]).alpb,
            "quick": CREST_QUICK[job.params.get("level") or "production"],
            "energy_window_kcal": job.params["window_xtb_kcal"],
            "atoms": job.params["atoms"],
        },
        inputs={"geometry": given or "embed/geometry.xyz"},
        after=() if given else ("embed",),
    )


def preopt(job: Job, conformer: str, geometry: str, after: Sequence[str], *, hessian: bool = False) -> StepSpec:
    """xTB optimisation of one conformer."""
    return _xtb(job, "preopt", conformer, geometry, after, hessian)


def xtb_structures(job: Job) -> bool:
    """Whether xTB's structures are the final ones of this job: then a conformer on which xTB fails is lost."""
    return job.kind == "nmr" and find_level(job.params["level"]).xtb_structures


def optimise_xtb(job: Job, conformer: str, geometry: str, after: Sequence[str]) -> StepSpec:
    """The final optimisation of one conformer by xTB, for a level without a DFT optimisation."""
    return _xtb(job, "optimise", conformer, geometry, after, hessian=False)


def hessian(job: Job, conformer: str) -> StepSpec:
    """xTB's Hessian of a kept conformer, and its structure again, because the Hessian belongs to that structure."""
    return _xtb(job, "hessian", conformer, f"{SELECT_XTB}/{conformer}.xyz", (SELECT_XTB,), hessian=True)


def select_ensemble(job: Job) -> StepSpec:
    """The selection of conformers from CREST's ensemble."""
    inputs = {"ensemble": "conformers/crest_conformers.xyz"}
    params = _choice(job, job.params["window_xtb_kcal"], job.params["max_conformers"])
    return StepSpec(SELECT_XTB, "select", "chemistry", "select", params=params, inputs=inputs, after=("conformers",))


def select(job: Job, name: str, earlier: str, conformers: Sequence[str]) -> StepSpec:
    """The selection among `conformers`; the structure of each comes from its step `earlier`-ID."""
    inputs = {f"energy-{conformer}": f"{earlier}-{conformer}/result.json" for conformer in conformers}
    inputs |= {f"geometry-{conformer}": f"{earlier}-{conformer}/geometry.xyz" for conformer in conformers}
    by_xtb = name == SELECT_XTB
    window = job.params["window_xtb_kcal"] if by_xtb else job.params["window_dft_kcal"]
    params = _choice(job, window, job.params["max_conformers"] if by_xtb else None)
    return StepSpec(
        name,
        "select",
        "chemistry",
        "select",
        params=params | {"conformers": list(conformers)},
        inputs=inputs,
        after=tuple(f"{earlier}-{conformer}" for conformer in conformers),
    )


def optimise(job: Job, conformer: str, source: str, start: str | None = None) -> StepSpec:
    """DFT optimisation of one conformer, from the structure and Hessian of `source`, a step of xTB or `SELECT_XTB`.

    With the path of a `start` structure the optimisation also runs if `source` fails.
    """
    level, solvent = find_level(job.params["level"]), by_key(job.params["solvent"])
    assert level.optimise_basis is not None  # else xTB optimises
    params = _dft(job, level, level.optimise_basis, solvent, level.optimise_steps) | _same_molecule(job)
    after, inputs = source, {"geometry": f"{source}/geometry.xyz", "hessian": f"{OPTIONAL}{source}/hessian"}
    if source == SELECT_XTB:
        inputs = {"geometry": f"{source}/{conformer}.xyz"}
    elif start is not None:
        after = OPTIONAL + source
        inputs |= {"geometry": f"{OPTIONAL}{source}/geometry.xyz", "start": start}
    return StepSpec(
        f"optimise-{conformer}", "optimise", "nwchem", "optimise", params=params, inputs=inputs, after=(after,)
    )


def optimise_plain(job: Job, conformer: str, structure: str, after: Sequence[str]) -> StepSpec:
    """DFT optimisation of a conformer that xTB could not improve, from `structure` as it is."""
    spec = optimise(job, conformer, SELECT_XTB)
    return replace(spec, inputs={"geometry": structure}, after=tuple(after))


def shielding(job: Job, conformer: str, *after: str) -> StepSpec:
    """GIAO shielding of one conformer."""
    level, solvent = find_level(job.params["level"]), by_key(job.params["solvent"])
    params = _dft(job, level, level.shielding_basis, solvent, level.response_iterations)
    inputs = {"geometry": _structure(job, conformer)}
    if level.shielding_basis == level.optimise_basis:
        inputs["vectors"] = f"{OPTIONAL}optimise-{conformer}/calc.movecs"
    name, behind = f"shielding-{conformer}", after or (f"optimise-{conformer}",)
    return StepSpec(name, "shielding", "nwchem", "shielding", params=params, inputs=inputs, after=behind)


def shifts(job: Job, conformers: Sequence[Mapping[str, Any]]) -> StepSpec:
    """The shifts of the conformers given as ``{"id", "degeneracy"}``.

    Their weights come from DFT energies: of the optimisation, or of the shielding if xTB optimised.
    """
    inputs: dict[str, str] = {}
    energies = "shielding" if xtb_structures(job) else "optimise"
    for conformer in (str(row["id"]) for row in conformers):
        inputs[f"shielding-{conformer}"] = f"shielding-{conformer}/result.json"
        inputs[f"optimise-{conformer}"] = f"{energies}-{conformer}/result.json"
        inputs[f"geometry-{conformer}"] = _structure(job, conformer)
    source = job.params["input"]
    params: dict[str, Any] = {key: job.params[key] for key in _JOIN} | _same_molecule(job)
    if job.params.get("isotopes"):
        params["isotopes"] = job.params["isotopes"]
    if "smiles" in source:
        params["source"] = {"smiles": source["smiles"]}
    elif not str(source["file"]).lower().endswith(".xyz"):
        inputs["structure"] = f"input/{source['file']}"
    return StepSpec(
        "shifts",
        "shifts",
        "chemistry",
        "shifts",
        params=params | {"conformers": [dict(row) for row in conformers]},
        inputs=inputs,
        after=tuple(f"shielding-{row['id']}" for row in conformers),
    )


def _structure(job: Job, conformer: str) -> str:
    """The path of a conformer's final structure. After a selection it is the copy made by the selection, because
    CREST's conformers have no separate steps."""
    if xtb_structures(job) and job.params["conformers"] != "none":
        return f"{SELECT_XTB}/{conformer}.xyz"
    return f"optimise-{conformer}/geometry.xyz"


def _xtb(job: Job, stage: str, conformer: str, geometry: str, after: Sequence[str], hessian: bool) -> StepSpec:
    params = {**_electrons(job), "alpb": by_key(job.params["solvent"]).alpb, "atoms": job.params["atoms"]}
    params |= _same_molecule(job)
    if hessian and len(job.params["atoms"]) > 1:
        params["hessian"] = True
    name, inputs = f"{stage}-{conformer}", {"geometry": geometry}
    return StepSpec(name, stage, "xtb", "optimise", params=params, inputs=inputs, after=tuple(after))


def _source(job: Job) -> tuple[dict[str, Any], dict[str, str]]:
    source = job.params["input"]
    if "smiles" in source:
        return {"smiles": source["smiles"]}, {}
    return {}, {"structure": f"input/{source['file']}"}


def _same_molecule(job: Job) -> dict[str, Any]:
    """The params that identify the molecule of the job: its bonds, and whether another molecule is accepted."""
    molecule = {"bonds": job.params["bonds"]}
    return molecule | {key: job.params[key] for key in ("unclear_bonds", ALLOW) if job.params.get(key)}


def _electrons(job: Job) -> dict[str, int]:
    return {"charge": job.params["charge"], "multiplicity": job.params["multiplicity"]}


def _choice(job: Job, window_kcal: float, most: int | None) -> dict[str, Any]:
    keys = ("atoms", "temperature_k")
    vacuum = by_key(job.params["solvent"]).alpb is None
    return {
        **{key: job.params[key] for key in keys},
        **_same_molecule(job),
        "vacuum": vacuum,
        "window_kcal": window_kcal,
        "most": most,
    }


def _dft(job: Job, level: Level, basis: str, solvent: Solvent, max_iterations: int) -> dict[str, Any]:
    return {
        **_electrons(job),
        "functional": level.functional,
        "basis": basis,
        "cosmo": solvent.cosmo,
        "max_iterations": max_iterations,
        "atoms": job.params["atoms"],
    }
