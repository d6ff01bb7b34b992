"""What needs a person first: the JSON of `GET /v1/overview`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmrunner.app import App
from qmrunner.model.job_filter import JobFilter
from qmrunner.model.states import JobState
from qmrunner.reports import status
from qmrunner.store import examinations, job_list
from qmrunner.store.session import StoreUnavailable

_DAY_S = 86400.0
_NAMED = 20
_LOW_SHARE = 0.05


def overview(app: App, limit: int = 50) -> dict[str, Any]:
    """As `qmrunner status`, with ``attention``: a list of ``{"code", "text", "job" or "worker", "next"}``.

    Codes: `job_held`, `job_failed` (of the last day), `worker_stale`, `checks_failed`, `no_worker`, `paused`,
    `disk_low`.
    """
    found = status.overview(app, limit)
    if "store" in found:
        return {**found, "queue": None, "artifacts": None, "attention": []}
    return {
        **found,
        "store": None,
        "state_file": None,
        "attention": [*_jobs(app), *_machines(found), *_unfit(app, found)],
    }


def _jobs(app: App) -> list[dict[str, Any]]:
    try:
        with app.store.read() as connection:
            since = app.store.now() - _DAY_S
            held = job_list.page(connection, _NAMED, JobFilter(states=(JobState.HELD,)))
            failed = job_list.page(connection, _NAMED, JobFilter(states=(JobState.FAILED,)))
    except StoreUnavailable:
        return []  # it was there a moment ago: the next look reports it
    recent = [job for job in failed if job.finished_at is not None and job.finished_at.timestamp() >= since]
    return [
        {"code": f"job_{job.state}", "text": job.summary or job.code or str(job.state), "job": job.id, "worker": None,
         "next": f"qmrunner why {job.id}"}
        for job in (*held, *recent)
    ]  # fmt: skip


def _machines(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [
        _row("worker_stale", f"worker {row['name']} has sent no heartbeat for {row['heartbeat_age_s']} s", row["id"])
        for row in found["workers"]
        if row["stale"]
    ]
    queue = found["queue"]
    if queue["paused"]:
        rows.append(_row("paused", "no step is started", command="qmrunner resume"))
    unfinished = queue["jobs"].get("queued", 0) + queue["jobs"].get("running", 0)
    if unfinished and all(row["stale"] for row in found["workers"]):
        rows.append(_row("no_worker", "jobs wait and no worker runs", command="qmrunner run"))
    for name, space in found["disk"].items():
        if space and space["free_mib"] < _LOW_SHARE * space["total_mib"]:
            rows.append(_row("disk_low", f"{name}: {space['free_mib']} MiB are free", command="qmrunner scratch usage"))
    return rows


def _unfit(app: App, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        with app.store.read() as connection:
            counted = examinations.counts(connection)
    except StoreUnavailable:
        return []
    return [
        _row("checks_failed", f"worker {row['name']}: `qmrunner doctor` found {failed} to fix there", row["id"])
        for row in found["workers"]
        if (failed := counted.get(row["id"], {}).get("fail"))
    ]


def _row(code: str, text: str, worker: int | None = None, command: str = "qmrunner status") -> dict[str, Any]:
    return {"code": code, "text": text, "job": None, "worker": worker, "next": command}
