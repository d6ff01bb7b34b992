"""The start page: what needs a person first, then what runs and waits, the workers, and what was recovered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.app import App
from qmrunner.model import app_tasks
from qmrunner.model.job_filter import JobFilter
from qmrunner.model.states import JobState
from qmrunner.reports import jobs as reports
from qmrunner.reports import status
from qmrunner.reports.status import iso
from qmrunner.store import events, examinations
from qmrunner.store import jobs as job_store
from qmrunner.store.rows import moment
from qmrunner.store.session import StoreUnavailable
from qmrunner.web.look import Ask, Page
from qmrunner.web.present import unix

_SHOWN = 8
_RECENT_EVENTS = 300
_FAILED_SINCE_S = 7 * 86400.0
# Free space below which a disk is reported, as a share of its size.
_LOW = 0.05
# Codes of attempts that ended without an outcome and were recovered.
_RECOVERED = ("worker_lost", "machine_lost", "guardian_lost", "hung", "stalled")
_RECOVERIES = ("worker_dead", "consumer_died", "attempt_fenced")


def facts(ask: Ask) -> dict[str, Any]:
    """What the start page shows. With the store away it is the daemon's state file, and the problem."""
    app = ask.app
    try:
        return {"nav": "overview", **_of_store(app), "away": None}
    except StoreUnavailable as problem:
        state = status.state_file(app)
        at = None if state is None else time.time() - state["age_s"]
        away = {"problem": problem.as_dict(), "at": at, "attempts": (state or {}).get("attempts", [])}
        return {"nav": "overview", "away": away, **_nothing(app)}


def _of_store(app: App) -> dict[str, Any]:
    seen = status.overview(app, 1)
    if "store" in seen:
        raise _away(seen["store"])
    states = ("failed", "held", "running", "queued")
    jobs = {state: reports.page(app, _SHOWN, JobFilter(states=(state,)))["jobs"] for state in states}
    with app.store.read() as connection:
        history = events.recent(connection, _RECENT_EVENTS)
        examined = examinations.counts(connection)
    workers = [{**beating(row, app.store.now()), "examined": examined.get(row["id"])} for row in seen["workers"]]
    return {
        "failed": [job for job in jobs["failed"] if _needs_a_person(job, app.store.now())],
        "held": jobs["held"],
        "running": jobs["running"],
        "waiting": jobs["queued"],
        "counts": {str(state): seen["queue"]["jobs"].get(str(state), 0) for state in JobState},
        "counted_to": job_store.COUNTED,
        "paused": seen["queue"]["paused"],
        "workers": workers,
        "recoveries": [_recovery(row) for row in history if _is_recovery(row)][:_SHOWN],
        "disks": disks(seen["disk"]),
    }


def _away(problem: Mapping[str, Any]) -> StoreUnavailable:
    more = {"evidence": problem["evidence"], "remedy": problem["remedy"]}
    return StoreUnavailable(problem["code"], problem["message"], **more)


def _nothing(app: App) -> dict[str, Any]:
    none: dict[str, Any] = {name: [] for name in ("failed", "held", "running", "waiting", "workers", "recoveries")}
    return {**none, "counts": {}, "counted_to": job_store.COUNTED, "paused": False, "disks": disks(status.disk(app))}


def beating(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    """A worker with the time of its last heartbeat instead of its age, which changes with every look."""
    found = {name: value for name, value in row.items() if name != "heartbeat_age_s"}
    return {**found, "beat_at": round(now - row["heartbeat_age_s"])}


def disks(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each disk once, in steps of a hundredth of its size: the page is not sent again for every file."""
    rows: list[dict[str, Any]] = []
    for name, space in found.items():
        if space is None or not space["total_mib"]:
            continue
        same = next((row for row in rows if row["total_mib"] == space["total_mib"]), None)
        if same is not None:
            same["names"].append(name)
            continue
        step = max(1, space["total_mib"] // 200)
        free = space["free_mib"] // step * step
        low = space["free_mib"] < _LOW * space["total_mib"]
        known = {"names": [name], "path": space["path"], "total_mib": space["total_mib"]}
        rows.append({**known, "free_mib": free, "low": low})
    return rows


def _needs_a_person(job: Mapping[str, Any], now: float) -> bool:
    """Whether a failed job is shown: not one that Huey tries again, nor an old one."""
    at = unix(job["finished_at"])
    return job.get("code") != app_tasks.RETRYING and (at is None or now - at < _FAILED_SINCE_S)


def _is_recovery(row: Mapping[str, Any]) -> bool:
    return row["event"] in _RECOVERIES or row["data"].get("code") in _RECOVERED


def _recovery(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": iso(moment(row["at"])), "event": row["event"], "job": row["job_id"], "step": row["step"],
        "attempt": row["attempt"], "worker": row["worker_id"], "code": row["data"].get("code"),
        "next": row["data"].get("next"), "summary": row["data"].get("summary"),
    }  # fmt: skip


PAGES: Sequence[Page] = (Page("/", "overview.html", facts),)
