"""What a job would cost, and whether it can run here, before it is submitted. Stores nothing.

Field names are a public contract (docs/reference/json.md). Sizes are MiB, times seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.model import labels
from qmrunner.model.core_allocation import amdahl
from qmrunner.model.job_filter import LONGEST_STRUCTURE, JobFilter
from qmrunner.model.jobs import Demand, Submission
from qmrunner.model.learned_demand import Ratios, kind_of, learned
from qmrunner.model.states import JobState
from qmrunner.store import counts, job_list, step_durations, usage_peaks, workers
from qmrunner.submission.plan_size import Part, parts, rule_core_s
from qmrunner.submission.submit import require_engines

# The range of the real duration around an estimate: from runs of this store, and from the rule.
_MEASURED, _RULE = (0.6, 1.6), (1 / 3, 3.0)
_ALIKE = (
    "level", "solvent", "conformers", "max_conformers", "charge", "multiplicity", "temperature_k", "isotopes",
)  # fmt: skip
_LOOKED_AT = 20
_MIB = ("memory_mib", "scratch_mib", "shm_mib")


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The workers that may run the job."""

    rows: Sequence[Mapping[str, Any]]

    @property
    def cores(self) -> int:
        return sum(row["cores"] for row in self.rows)

    def at_once(self, demand: Demand) -> int:
        """How many such steps run at the same time, by slots and cores."""
        return sum(min(row["slots"], row["cores"] // max(1, demand.cores_min)) for row in self.rows)

    def unmet(self, demand: Demand) -> str | None:
        """What every worker lacks for such a step."""
        lacking = [_lacks(row, demand) for row in self.rows]
        return None if not lacking or None in lacking else lacking[0]


def verdict(app: App, made: Submission, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of `POST /v1/check`; `facts` are those of `submission.facts`.

    Raises NotReadyError `engine_missing` as a submission would.
    """
    require_engines(app, [made])
    planned = parts(app, made)
    try:
        store = app.open_store(create=False)
    except NotReadyError as problem:
        if problem.code not in ("store_missing", "store_empty"):
            raise
        return _verdict(made, facts, planned, {}, _Fleet(()), None)
    with store.read() as connection:
        kinds = {kind_of(part.step.engine, part.step.task, part.step.params) for part in planned}
        seen = usage_peaks.seen(connection, kinds)
        fleet = _Fleet(_fitting(workers.all_workers(connection), made.requires))
        return _verdict(made, facts, planned, seen, fleet, connection)


def _verdict(
    made: Submission,
    facts: Mapping[str, Any],
    planned: Sequence[Part],
    seen: Mapping[str, Sequence[Ratios]],
    fleet: _Fleet,
    connection: Connection | None,
) -> dict[str, Any]:
    rows = [_stage(part, seen, fleet, connection) for part in planned]
    hours = None if any(row["core_s"] is None for row in rows) else sum(_core_s(row) for row in rows) / 3600
    known = fleet.rows and all(row["wall_s"] is not None for row in rows)
    unmet = next((row["unmet"] for row in rows if row["unmet"]), None)
    return {
        "kind": made.kind,
        "name": made.name,
        "group": made.group,
        **facts,
        "steps": [sum(part.least for part in planned), sum(part.most for part in planned)],
        "stages": rows,
        "needs": {name: max((row[name] for row in rows), default=0) for name in _MIB},
        "core_hours": None if hours is None else round(hours, 4),
        "wall_s": [round(sum(row["wall_s"][end] for row in rows), 1) for end in (0, 1)] if known else None,
        "workers": {"count": len(fleet.rows), "cores": fleet.cores, "unmet": unmet},
        "ahead": 0 if connection is None else counts.now(connection).steps["ready"],
        "computed_before": [] if connection is None else _computed_before(connection, made),
    }


def _core_s(row: Mapping[str, Any]) -> float:
    return float(row["core_s"] * row["steps"][1])


def _stage(
    part: Part, seen: Mapping[str, Sequence[Ratios]], fleet: _Fleet, connection: Connection | None
) -> dict[str, Any]:
    step = part.step
    demand = learned(step.demand, seen.get(kind_of(step.engine, step.task, step.params) or "", ()))
    at_once = max(1, min(part.most, fleet.at_once(demand)))
    cores = max(demand.cores_min, min(demand.cores_max, fleet.cores // at_once)) if fleet.rows else demand.cores_min
    measured = None if connection is None else step_durations.expected_s(connection, step, cores)
    rule = rule_core_s(step)
    each = measured if measured is not None else None if rule is None else rule / amdahl(cores)
    low, high = _MEASURED if measured is not None else _RULE
    return {
        "stage": step.stage,
        "engine": step.engine,
        "steps": [part.least, part.most],
        "cores": cores,
        "memory_mib": demand.memory_mib(cores),
        "scratch_mib": demand.scratch_mib,
        "shm_mib": demand.shm_mib,
        "core_s": None if each is None else round(each * cores, 1),
        "basis": "measured" if measured is not None else "rule" if rule is not None else "unknown",
        "wall_s": None
        if each is None
        else [
            round(low * each * math.ceil(part.least / at_once), 1),
            round(high * each * math.ceil(part.most / at_once), 1),
        ],
        "unmet": fleet.unmet(demand),
    }


def _lacks(row: Mapping[str, Any], demand: Demand) -> str | None:
    wanted = {
        "cores": demand.cores_min, "memory_mib": demand.memory_mib(demand.cores_min),
        "scratch_mib": demand.scratch_mib, "shm_mib": demand.shm_mib,
    }  # fmt: skip
    for name, needed in wanted.items():
        offered = row[name]
        if offered is not None and needed > offered:
            what, unit = name.removesuffix("_mib"), " MiB" if name.endswith("_mib") else ""
            return f"{what}: a step needs {needed}{unit}, and worker {row['name']} has {offered}{unit}"
    return None


def _fitting(rows: Sequence[Mapping[str, Any]], requires: Collection[str]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["state"] == "active" and labels.met(tuple(requires), row["labels"] or ())]


def _computed_before(connection: Connection, made: Submission) -> list[dict[str, Any]]:
    """Jobs of this kind and molecule that succeeded with the same options, newest first."""
    smiles = made.params.get("smiles")
    if not smiles or len(smiles) > LONGEST_STRUCTURE:
        return []
    wanted = JobFilter(states=(JobState.SUCCEEDED,), kinds=(made.kind,), structure=smiles)
    return [
        {
            "job": job.id,
            "name": job.name,
            "finished_at": None if job.finished_at is None else _iso(job.finished_at),
        }
        for job in job_list.page(connection, _LOOKED_AT, wanted)
        if all(job.params.get(name) == made.params.get(name) for name in _ALIKE)
    ]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
