"""Running jobs that are interrupted: no worker runs a step of them, and none would start one.

The state of such a job stays `running`, because its next worker resumes it; lists and pages show why nothing happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.model.jobs import Job
from qmrunner.model.states import JobState
from qmrunner.store import worker_history, workers

# The states of a worker that has not ended, as far as the store knows.
RUNNING = ("active", "draining")
# Of a worker on another machine: clocks may differ, so only a heartbeat that is very old means a dead worker.
_SURELY_DEAD_S = 60.0


def beats(app: App, worker: Mapping[str, Any], now: float) -> bool:
    """Whether the worker of this row is alive: on this machine, that its process runs; and that it reports."""
    return not gone(worker) and bool(now - worker["beat_at"] < max(_SURELY_DEAD_S, 2 * app.settings.lease_seconds))


def gone(worker: Mapping[str, Any]) -> bool:
    """Whether the worker's process ran on this machine, in this pid namespace, and runs no more."""
    if worker["boot_id"] != process_tree.boot_id() or worker["pid_ns"] != process_tree.pid_namespace():
        return False
    return not process_tree.is_alive(Identity.from_dict(worker))


def of_jobs(app: App, connection: Connection, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """For each interrupted job among these ``code``, ``summary``, ``then`` (what ends it) and ``since``.

    Codes: `worker_silent` (a worker has a step of it, and is dead or does not report), `no_worker`, `draining`,
    `paused`; ``since`` is ISO 8601, None where it is not known.
    """
    running = [job.id for job in jobs if job.state is JobState.RUNNING]
    if not running:
        return {}
    now = app.store.now()
    rows = {row["id"]: row for row in workers.all_workers(connection)}
    alive = [row for row in rows.values() if beats(app, row, now)]
    owners = worker_history.owners(connection, running)
    living = {row["id"] for row in alive}
    stuck = {job_id: owners.get(job_id, []) for job_id in running if living.isdisjoint(owners.get(job_id, []))}
    missing = {owner for mine in stuck.values() for owner in mine} - rows.keys()
    rows |= worker_history.rows(connection, missing)
    without = [job_id for job_id, mine in stuck.items() if not mine]
    idle = _idle(connection, alive) if without else None
    found = {job_id: _silent(rows, alive, mine) for job_id, mine in stuck.items() if mine}
    return found | {job_id: idle for job_id in without if idle is not None}


def _silent(
    rows: Mapping[int, Mapping[str, Any]], alive: Sequence[Mapping[str, Any]], owners: Sequence[int]
) -> dict[str, Any]:
    owner = max((rows[worker] for worker in owners), key=lambda row: float(row["beat_at"]))
    what = "ended unexpectedly" if _ended(owner) else "does not report"
    summary = f"worker {owner['name']} on {owner['host']} {what}"
    return _row("worker_silent", summary, then_of(owner, alive), owner["beat_at"])


def then_of(owner: Mapping[str, Any], alive: Sequence[Mapping[str, Any]]) -> str:
    """In words, what happens to the steps of a worker that is dead or does not report; `alive`: those that run."""
    if any(row["home_id"] != owner["home_id"] for row in alive):
        return "another worker takes its steps over"
    back = "" if _ended(owner) else "if it does not report again, "
    return f"{back}the next `qmrunner run` there continues with engines that still run, and resumes the rest"


def _ended(worker: Mapping[str, Any]) -> bool:
    return gone(worker) or worker["state"] not in RUNNING


def _idle(connection: Connection, alive: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Why a job without a running step waits for a worker; None if an active worker could start one."""
    if not alive:
        return _row(
            "no_worker", "no worker runs", "the next `qmrunner run` resumes it", worker_history.last(connection)
        )
    if workers.is_paused(connection):
        return _row("paused", "all workers are paused", "`qmrunner resume` ends the pause", None)
    if all(row["state"] == "draining" for row in alive):
        return _row("draining", "all workers are draining", "`qmrunner resume` ends the drain", None)
    return None


def _row(code: str, summary: str, then: str, since: float | None) -> dict[str, Any]:
    # Whole seconds, as heartbeats are: the page is not sent again for less.
    at = None if since is None else f"{datetime.fromtimestamp(round(since), UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"code": code, "summary": summary, "then": then, "since": at}
