"""The JSON of `status` and `result`, read from the store; `reports.why` has the JSON of `why`.

Field names are the outside contract (docs/reference/json.md). Times are ISO 8601 UTC. `status` imports little:
`reports.files` and what it needs are imported by the functions that use them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qmrunner import workflows
from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.model import eta, labels
from qmrunner.model.jobs import Attempt, Grant, Job, Step
from qmrunner.model.learned_demand import Ratios, expected, kind_of
from qmrunner.model.states import STEP_LIVE, JobState, StepState
from qmrunner.reports import interrupted
from qmrunner.reports.apps import apps
from qmrunner.reports.interrupted import RUNNING, beats, gone, then_of
from qmrunner.store import jobs as job_store
from qmrunner.store import reservations, usage_peaks, workers
from qmrunner.store.session import StoreUnavailable

_LEASES_UNTIL_STALE = 1.0


def overview(app: App, limit: int = 50) -> dict[str, Any]:
    """`qmrunner status`: workers, jobs, queue and disk; from the daemon's state file when the store does not answer."""
    try:
        with app.store.read() as connection:
            found = job_store.listing(connection, limit)
            steps = job_store.outlines(connection, [job.id for job in found])
            counted = job_store.counts(connection)
            ages = {row["id"]: row for row in workers.all_workers(connection)}
            paused = workers.is_paused(connection)
            held = reservations.by_worker(connection)
            stopped = interrupted.of_jobs(app, connection, found)
    except StoreUnavailable as problem:
        stuck: dict[str, Any] = {"store": problem.as_dict(), "state_file": state_file(app), "workers": [], "jobs": []}
        return {**stuck, "apps": apps(app), "disk": disk(app)}
    return {
        "workers": worker_rows(app, list(ages.values()), held),
        "jobs": [job_row(job, steps[job.id], stopped) for job in found],
        "apps": apps(app),
        "queue": {"paused": paused, "jobs": counted["jobs"], "steps": counted["steps"]},
        "artifacts": artifacts(app),
        "disk": disk(app),
    }


def workers_view(app: App) -> list[dict[str, Any]]:
    """The workers of `qmrunner status`: those that have not ended."""
    with app.store.read() as connection:
        rows, held = workers.all_workers(connection), reservations.by_worker(connection)
    return worker_rows(app, rows, held)


def job_view(app: App, job_id: str) -> dict[str, Any]:
    """`qmrunner status JOB`. Raises NotFoundError."""
    job, steps, tries, everyone = load(app, job_id)
    unmet = None if taken_by_any(app, job, everyone) else labels.waits_for(job.requires)
    with app.store.read() as connection:
        seen = usage_peaks.seen(connection, {kind_of(step.engine, step.task, step.params) for step in steps})
        stopped = interrupted.of_jobs(app, connection, [job])
    rows = [
        {**row, "estimate": _estimate(step, row["cores"], seen)}
        for row, step in zip(_steps(steps, tries, everyone, unmet, app.store.now()), steps, strict=True)
    ]
    return {"job": {**job_row(job, steps, stopped), "steps": rows}}


def step_view(app: App, job_id: str, name: str) -> dict[str, Any] | None:
    """One of the steps of `job_view`, however many the job has; None if it has no such step. Raises NotFoundError."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        step = job_store.step_named(connection, job_id, name)
        if step is None:
            return None
        tries = workers.attempts_of_job(connection, job_id, [step.id])
        everyone = workers.all_workers(connection, ended=True)
        seen = usage_peaks.seen(connection, {kind_of(step.engine, step.task, step.params)})
        now = app.store.now()
    unmet = None if taken_by_any(app, job, everyone) else labels.waits_for(job.requires)
    (row,) = _steps([step], tries, everyone, unmet, now)
    return {**row, "estimate": _estimate(step, row["cores"], seen)}


def submitted_view(app: App, job_id: str) -> dict[str, Any]:
    """`qmrunner submit --json`: the job, and the reservation of each of its steps."""
    _, steps, _, _ = load(app, job_id)
    return {"id": job_id, "steps": [{"id": step.name, "needs": needs(step)} for step in steps]}


def needs(step: Step) -> dict[str, int]:
    """The demand of a step: cores, MiB per core and MiB in addition."""
    demand = step.demand
    return {
        "cores_min": demand.cores_min,
        "cores_max": demand.cores_max,
        "memory_mib_per_core": demand.memory_mib_per_core,
        "memory_mib_base": demand.memory_mib_base,
        "scratch_mib": demand.scratch_mib,
        "shm_mib": demand.shm_mib,
    }


def result_view(app: App, job_id: str) -> dict[str, Any]:
    """`qmrunner result JOB`. Raises NotReadyError while there is no result."""
    job, steps, _, _ = load(app, job_id)
    if job.state is not JobState.SUCCEEDED:
        over = job.state in (JobState.FAILED, JobState.CANCELLED)
        raise NotReadyError(
            "no_result",
            f"job {job.id} is {job.state}" + (f": {job.summary}" if job.summary else ""),
            remedy=f"`qmrunner why {job.id}` explains it" if over else f"`qmrunner status {job.id} --watch` follows it",
        )
    from qmrunner.reports import files as reports_files

    folder = app.settings.jobs_root / job.id
    files = {"files": reports_files.names(app, job.id), "files_missing": reports_files.bring_own(app, job.id)}
    return {**workflows.workflow(job.kind).result(job, steps), "folder": str(folder), **files}


def taken_by_any(app: App, job: Job, everyone: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a running worker has the labels that the job requires; True when no worker runs at all."""
    now = app.store.now()
    alive = [row for row in everyone if row["state"] in RUNNING and beats(app, row, now)]
    return not alive or any(labels.met(job.requires, row["labels"] or ()) for row in alive)


def load(app: App, job_id: str) -> tuple[Job, list[Step], list[Attempt], list[dict[str, Any]]]:
    """A job, its steps, their attempts, and all workers. Raises NotFoundError."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        steps = job_store.of_job(connection, job_id)
        tries = workers.attempts_of_job(connection, job_id)
        everyone = workers.all_workers(connection, ended=True)
    return job, steps, tries, everyone


def job_row(job: Job, steps: Sequence[Step], stopped: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A job as in lists. `steps`: outlines are enough; `stopped`: of `interrupted.of_jobs`."""
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": job.state,
        "code": job.code,
        "summary": job.summary,
        "priority": job.priority,
        "owner": job.owner,
        "group": job.group,
        "structure": job.structure,
        "inchikey": job.inchikey,
        "requires": list(job.requires),
        "cancel_requested": job.cancel_requested,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "interrupted": stopped.get(job.id),
        "progress": progress_of(job, steps),
    }


def progress_of(job: Job, steps: Sequence[Step]) -> dict[str, Any]:
    """The progress of a job, from its steps: at least ``text`` and ``fraction``."""
    return workflows.workflow(job.kind).progress(job, steps)


def _steps(
    steps: Sequence[Step],
    tries: Sequence[Attempt],
    everyone: Sequence[Mapping[str, Any]],
    unmet: str | None,
    now: float,
) -> list[dict[str, Any]]:
    beat_at = {row["id"]: row["beat_at"] for row in everyone}
    newest = {attempt.step_id: attempt for attempt in tries}
    rows = []
    for step in steps:
        attempt = newest.get(step.id)
        live = step.state in STEP_LIVE
        beat = beat_at.get(attempt.worker_id) if attempt and live else None
        rows.append(
            {
                "id": step.name,
                "stage": step.stage,
                "engine": step.engine,
                "state": step.state,
                "attempt": step.attempt,
                "worker": attempt.worker_id if attempt and live else None,
                "worker_pid": attempt.worker_pid if attempt and live else None,
                "guardian_pid": attempt.guardian_pid if attempt and live else None,
                "engine_pid": attempt.engine_pid if attempt and live else None,
                "heartbeat_age_s": None if beat is None else round(max(0.0, now - beat), 1),
                "cores": attempt.grant.cores if attempt and live else None,
                "progress": _with_energy(step, with_time_left(attempt.progress, now if live else None))
                if attempt
                else {},
                "needs": needs(step),
                "reserved": asdict(attempt.grant) if attempt and live else None,
                "usage": attempt.usage if attempt else {},
                "waits_for": unmet or step.waits_for if step.state is StepState.READY else None,
                "code": step.code,
                "log": attempt.log if attempt else None,
                "started_at": iso(attempt.started_at) if attempt else None,
                "finished_at": iso(step.finished_at),
            }
        )
    return rows


def _with_energy(step: Step, progress: dict[str, Any]) -> dict[str, Any]:
    """Progress with the energy (hartree) of the result once there is one: the log may have fewer digits."""
    energy = step.result.get("energy_hartree") if step.state is StepState.SUCCEEDED else None
    replace = energy is not None and progress.get("energy_hartree") is not None
    return {**progress, "energy_hartree": energy} if replace else progress


def with_time_left(progress: Mapping[str, Any], now: float | None) -> dict[str, Any]:
    """Progress with ``left``, the forecast in words, and ``seconds_left``, as of `now` (Unix s); None: it has ended."""
    found = {name: value for name, value in progress.items() if name != "ends_at"}
    if now is not None and "ends_at" in progress:
        low, high = progress["ends_at"]
        found["left"] = eta.in_words(eta.Ending(low, high), now)
        found["seconds_left"] = [round(max(0.0, low - now), 1), round(max(0.0, high - now), 1)]
    return found


def _estimate(step: Step, cores: int | None, seen: Mapping[str, Sequence[Ratios]]) -> dict[str, Any]:
    """The expected peaks, MiB, and the number of attempts of the kind behind them; 0: by the engine's rule alone."""
    measured = seen.get(kind_of(step.engine, step.task, step.params) or "", ())
    return {**expected(step.demand, cores or step.demand.cores_min, measured), "attempts": len(measured)}


def worker_rows(app: App, rows: Sequence[Mapping[str, Any]], held: Mapping[int, Grant]) -> list[dict[str, Any]]:
    """These workers as in lists; `held` are their reservations."""
    alive = [row for row in rows if beats(app, row, app.store.now())]
    return [worker_row(app, row, held.get(row["id"]), alive) for row in rows]


def worker_row(
    app: App, row: Mapping[str, Any], held: Grant | None, alive: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A worker as in lists, from its row and its reservations; `alive`: the rows of the workers that run."""
    age = max(0.0, app.store.now() - row["beat_at"])
    running = row["state"] in RUNNING
    stale = age > _LEASES_UNTIL_STALE * app.settings.lease_seconds or (running and gone(row))
    return {
        "id": row["id"],
        "name": row["name"],
        "host": row["host"],
        "pid": row["pid"],
        "consumer_pid": row["consumer_pid"],
        "state": row["state"],
        "slots": row["slots"],
        "cores": row["cores"],
        "memory_mib": row["memory_mib"],
        "scratch_mib": row["scratch_mib"],
        "shm_mib": row["shm_mib"],
        "reserved": asdict(held or Grant(0, 0, 0, 0)),
        "heartbeat_age_s": round(age, 1),
        "stale": stale,
        "ended_unexpectedly": running and gone(row),
        "then": then_of(row, alive) if running and stale else None,
        "labels": row["labels"] or [],
        "version": row["version"],
        "started_at": iso(datetime.fromtimestamp(row["created_at"], UTC)),
    }


def artifacts(app: App) -> dict[str, Any] | None:
    """The artifact store, and for how long this home's daemon could not reach it. None: not configured."""
    if app.settings.artifacts is None:
        return None
    return {"url": app.settings.artifacts, "lost_s": (state_file(app) or {}).get("artifacts_lost_s")}


def disk(app: App) -> dict[str, Any]:
    """Free and total space of the data folders, MiB. None for a folder that does not exist."""
    s = app.settings
    folders = {"home": s.home, "scratch": s.scratch_root, "logs": s.logs_root}
    return {name: _space(path) for name, path in folders.items()}


def _space(path: Path) -> dict[str, Any] | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    # f_bavail, not f_bfree: the difference was a factor of three on a real machine.
    return {
        "path": str(path),
        "free_mib": found.f_bavail * found.f_frsize // 2**20,
        "total_mib": found.f_blocks * found.f_frsize // 2**20,
        "free_files": found.f_favail,
    }


def state_file(app: App) -> dict[str, Any] | None:
    """The worker's last state file, with its age in seconds; None when there is none."""
    try:
        state: dict[str, Any] = json.loads((app.settings.run_root / "state.json").read_text())
    except (OSError, ValueError):
        return None
    state["age_s"] = round(max(0.0, time.time() - state["at"]), 1)
    return state


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
