"""Resources that future jobs need, and the current use of the scratch volume: JSON of `scratch plan` and `usage`.

All sizes are MiB (2**20 bytes). Field names are the outside contract (docs/reference/json.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qmrunner import engines
from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.guardian import sampling
from qmrunner.host import capacity as host_capacity
from qmrunner.model.disk_space import hard_mark_mib, soft_mark_mib
from qmrunner.model.jobs import Demand, Step
from qmrunner.model.learned_demand import Ratios, expected, kind_of, learned, measured, within
from qmrunner.model.packing import Candidate, Capacity, Free, choose
from qmrunner.model.wait_reasons import flag_size
from qmrunner.settings import Settings
from qmrunner.store import attempts as attempt_store
from qmrunner.store import ready_steps, reservations, usage_peaks, workers
from qmrunner.store.attempts import StepFate
from qmrunner.workflows.levels import Level, find_level
from qmrunner.workflows.solvents import by_key
from qmrunner.workflows.specs import CREST_QUICK

_MEMORY_SHARE = 0.9  # of a container's memory, see host/capacity.py
_DAY_S = 86400.0
_SOLVENT = "chloroform"  # the default of submissions


def plan(
    app: App, *, jobs: int, conformers: int, atoms: int, level: str, slots: int | None, cores: int | None
) -> dict[str, Any]:
    """The resources NMR jobs of that size need on one machine, to run at once and to keep their results.

    `atoms` counts hydrogens; the rule assumes half of them to be hydrogens and the others carbons, in a solvent.
    `slots` and `cores` default to this machine's. A stage lists the reservation of one of its steps and, if the store
    has earlier `attempts` of its kind and size, the `expected` peaks; the needs follow from the reservations. Raises
    UsageError for an unknown level.
    """
    here = host_capacity.capacity(app.settings)
    cores = cores or here.cores
    at_once = min(slots or (here.slots if cores == here.cores else cores), cores, jobs * conformers)
    cores_each = max(1, cores // at_once)
    stages = _stages(find_level(level), ["C"] * (atoms // 2) + ["H"] * (atoms - atoms // 2), conformers, jobs)
    known = _seen(app, {stage.kind for stage in stages})
    rows = [_stage_row(stage, known.get(stage.kind, []), cores_each) for stage in stages]
    peak = {
        name: max(row[name] * min(at_once, row["steps"]) for row in rows)
        for name in ("memory_mib", "scratch_mib", "shm_mib")
    }
    kept = jobs * max(row["scratch_mib"] for row in rows)
    needs = {
        "memory_mib": int(peak["memory_mib"] / _MEMORY_SHARE) + 1,
        "shm_mib": peak["shm_mib"] * 20 // 19 + 1,
        "scratch_mib": (peak["scratch_mib"] + kept) * 20 // 19 + 1,
        "home_mib": app.settings.ballast_mib + jobs * (1 + conformers * _results_mib(atoms)),
    }
    return {
        "asked": {"jobs": jobs, "conformers": conformers, "atoms": atoms, "level": level},
        "at_once": at_once,
        "cores": cores,
        "cores_each": cores_each,
        "stages": rows,
        "at_once_needs": peak,
        "kept_after_failures_mib": kept,
        "needs": needs,
        "here": _here(here),
        "compose": _compose(cores, at_once, needs),
    }


@dataclass(frozen=True, slots=True)
class _Stage:
    """`steps` of one kind, and the needs of one of them by its engine's rule."""

    name: str
    steps: int
    kind: str
    rule: Demand


def _stages(level: Level, atoms: list[str], conformers: int, jobs: int) -> list[_Stage]:
    def stage(name: str, steps: int, engine: str, task: str, **params: Any) -> _Stage:
        asked = {"atoms": atoms, **params}
        kind = kind_of(engine, task, asked)
        assert kind is not None  # the number of atoms is known
        return _Stage(name, steps, kind, engines.get(engine).demand(task, asked))

    medium = by_key(_SOLVENT)
    dft = {"functional": level.functional, "cosmo": medium.cosmo}
    each = jobs * conformers
    quick = CREST_QUICK[level.key]
    search = [stage("search", jobs, "crest", "conformers", alpb=medium.alpb, quick=quick)] if conformers > 1 else []
    by_xtb = stage("optimise" if level.xtb_structures else "preopt", each, "xtb", "optimise", alpb=medium.alpb)
    optimised = [by_xtb]
    if not level.xtb_structures:
        optimised.append(stage("optimise", each, "nwchem", "optimise", basis=level.optimise_basis, **dft))
    return [
        *search,
        *optimised,
        stage("shielding", each, "nwchem", "shielding", basis=level.shielding_basis, **dft),
    ]


def _seen(app: App, kinds: Collection[str]) -> dict[str, list[Ratios]]:
    """The usage of earlier attempts of these kinds; empty without a store of this version."""
    try:
        store = app.open_store(create=False)
    except NotReadyError:
        return {}
    with store.read() as connection:
        return usage_peaks.seen(connection, kinds)


def _stage_row(stage: _Stage, seen: list[Ratios], cores: int) -> dict[str, Any]:
    demand = learned(stage.rule, seen)
    used = max(demand.cores_min, min(cores, demand.cores_max))
    return {
        "stage": stage.name,
        "steps": stage.steps,
        "cores": used,
        "memory_mib": demand.memory_mib(used),
        "scratch_mib": demand.scratch_mib,
        "shm_mib": demand.shm_mib,
        "attempts": len(seen),
        "expected": _expected(stage.rule, used, seen) if seen else None,
    }


def _expected(rule: Demand, cores: int, seen: list[Ratios]) -> dict[str, int | None]:
    """The expected peaks; None for a figure that no attempt measured: a rule must not look like a measurement."""
    known = {f"{name}_mib" for name in measured(seen)}
    return {name: mib if name in known else None for name, mib in expected(rule, cores, seen).items()}


def _results_mib(atoms: int) -> int:
    """Logs, decks, orbitals and geometries of one conformer: 0.6 MiB for ethanol (measured), more with the size."""
    return 1 + atoms // 10


def _here(capacity: Capacity) -> dict[str, Any]:
    return {name: getattr(capacity, name) for name in ("cores", "memory_mib", "scratch_mib", "shm_mib")}


def _compose(cores: int, slots: int, needs: Mapping[str, int]) -> list[str]:
    return [
        "services:",
        "  worker:",
        f"    cpus: {cores}",
        f"    mem_limit: {flag_size(needs['memory_mib'])}",
        f"    shm_size: {flag_size(needs['shm_mib'])}",
        "    environment:",
        f'      QMRUNNER_SLOTS: "{slots}"',
        "      QMRUNNER_HOME: /data",
        "      QMRUNNER_SCRATCH: /scratch",
        "    volumes:",
        f"      - data:/data        # {flag_size(needs['home_mib'])} or more",
        f"      - scratch:/scratch  # {flag_size(needs['scratch_mib'])} or more",
    ]


def usage(app: App) -> dict[str, Any]:
    """The use of the scratch volume by job, what may still be reserved, and the forecast."""
    settings = app.settings
    root = settings.scratch_root
    on_disk = _on_disk(root)
    volume = host_capacity.volume(root)  # once: all figures of a report belong together
    capacity, room = host_capacity.capacity(settings), host_capacity.room(settings, volume)
    with app.store.read() as connection:
        now = app.store.now()
        worker = _worker_of(workers.all_workers(connection), settings)
        left = reservations.left_of(connection, worker, capacity, room)
        live = workers.live_attempts(connection, [worker])
        ready = ready_steps.best(connection, now, capacity.labels)
        learned_of = usage_peaks.demands(connection, ready)
        demands = {step.id: within(learned_of[step.id], learned(step.demand, ()), left.idle) for step in ready}
        fates = attempt_store.fates(connection, {*on_disk, *(row["job_id"] for row in live)})
    rows = _job_rows(on_disk, live, fates, settings)
    held = sum(row["reserved_mib"] for row in rows)
    unused = sum(row["unused_mib"] for row in rows)
    free = volume.free_mib if volume else None
    return {
        "volume": _volume(volume, settings),
        "jobs": rows,
        "others_mib": _others(volume, rows),
        "reserved_mib": held,
        "left_mib": left.now.scratch_mib,
        "blocked": room.blocked,
        "waiting": {
            "steps": len(ready),
            "scratch_mib": sum(demand.scratch_mib for demand in demands.values()),
            "start_now": _would_start(ready, demands, left.now) if room.blocked is None else 0,
        },
        "forecast": {
            "free_when_reservations_are_used_mib": None if free is None else int(free - unused),
            "given_back_by_running_mib": round(sum(row["running_mib"] for row in rows), 1),
            "kept_of_failed_mib": round(sum(row["on_disk_mib"] for row in rows if row["kept_until"]), 1),
        },
    }


def _worker_of(known: list[dict[str, Any]], settings: Settings) -> int:
    """Id of the worker of this home; 0, which is no worker's id, when none runs."""
    return max((row["id"] for row in known if row["home"] == str(settings.home)), default=0)


def _on_disk(root: Path) -> dict[str, float]:
    """Job → MiB in its scratch folder. Folders of jobs only; links are not followed."""
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return {}
    return {path.name: sampling.tree_bytes(str(path)) / 2**20 for path in folders if not path.name.startswith(".")}


def _job_rows(
    on_disk: Mapping[str, float],
    live: list[dict[str, Any]],
    fates: Mapping[tuple[str, str], StepFate],
    settings: Settings,
) -> list[dict[str, Any]]:
    found = []
    for job in sorted({*on_disk, *(row["job_id"] for row in live)}):
        mine = [row for row in live if row["job_id"] == job]
        ended = [fate.ended_at for (owner, _), fate in fates.items() if owner == job and fate.failed and fate.ended_at]
        pairs = [(row["granted"]["scratch_mib"], float(row["usage"].get("scratch_mib") or 0.0)) for row in mine]
        kept = max(ended) + settings.retention_days * _DAY_S if ended and not mine else None
        found.append(
            {
                "job": job,
                "running": len(mine),
                "on_disk_mib": round(on_disk.get(job, 0.0), 1),
                "running_mib": round(sum(used for _, used in pairs), 1),
                "reserved_mib": sum(held for held, _ in pairs),
                "unused_mib": round(sum(max(0.0, held - used) for held, used in pairs), 1),
                "kept_until": None
                if kept is None
                else datetime.fromtimestamp(kept, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return sorted(found, key=lambda row: -row["on_disk_mib"])


def _volume(volume: host_capacity.Volume | None, settings: Settings) -> dict[str, Any] | None:
    if volume is None:
        return None
    soft, hard = settings.scratch_soft_mib, settings.scratch_hard_mib
    return {
        "path": str(volume.path),
        "total_mib": volume.total_mib,
        "free_mib": volume.free_mib,
        "free_files": volume.free_files,
        "soft_mark_mib": soft_mark_mib(volume.total_mib, soft),
        "hard_mark_mib": hard_mark_mib(volume.total_mib, hard, soft),
    }


def _others(volume: host_capacity.Volume | None, rows: list[dict[str, Any]]) -> int | None:
    if volume is None:
        return None
    return max(0, int(volume.total_mib - volume.free_mib - sum(row["on_disk_mib"] for row in rows)))


def _would_start(ready: list[Step], demands: Mapping[int, Demand], left: Free) -> int:
    """How many of the waiting steps would start immediately with the resources left."""
    waiting, started = [Candidate(step.id, demands[step.id], step.skips) for step in ready], 0
    while picked := choose(waiting, left):
        chosen, grant = picked
        waiting = [candidate for candidate in waiting if candidate is not chosen]
        started += 1
        left = Free(
            left.slots - 1,
            left.cores - grant.cores,
            left.memory_mib - grant.memory_mib,
            None if left.scratch_mib is None else left.scratch_mib - grant.scratch_mib,
            None if left.shm_mib is None else left.shm_mib - grant.shm_mib,
        )
    return started
