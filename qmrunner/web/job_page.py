"""The pages of one job: its steps, attempts and log, and why it is in its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.api import logfiles
from qmrunner.errors import NotFoundError
from qmrunner.model.states import JobState, StepState
from qmrunner.reports import status, why
from qmrunner.reports.jobs import summary
from qmrunner.reports.status import iso
from qmrunner.store import events, huey_jobs
from qmrunner.store import jobs as job_store
from qmrunner.store.rows import moment
from qmrunner.web import log_view
from qmrunner.web.look import Ask, Page
from qmrunner.web.timeline import drawn

_AROUND = 20
_EVENTS = 300
# The end of a bar that grows moves this often, s.
_GROWS_S = 10
_ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
# Detail of the hang watch and of hang reports is shown on the page of reasons.
_HEADED = ("running", "claimed", "held", "failed", "ready", "waiting", "cancelled")


def job(ask: Ask) -> dict[str, Any]:
    """The whole page: state in words, grid of steps, timeline, and the panel of one step."""
    job_id = job_id_of(ask)
    known = status.job_view(ask.app, job_id)["job"]
    reason = why.view(ask.app, job_id)
    step = _selected(known["steps"], ask.word("step"))
    attempts = [_plain(row) for row in reason["attempts"]]
    now = ask.app.store.now() // _GROWS_S * _GROWS_S + _GROWS_S
    mine = [row for row in attempts if step is not None and row["step"] == step["id"]]
    attempt = next((row for row in mine if row["attempt"] == ask.number("attempt")), mine[-1] if mine else None)
    return {
        "nav": "jobs",
        "job": {name: value for name, value in known.items() if name != "steps"},
        "reason": _reason(reason),
        "stages": _stages(known["steps"]),
        "steps_total": len(known["steps"]),
        "step": None if step is None else _panel(step, ask),
        "attempt": attempt,
        "attempts": mine,
        "timeline": drawn(attempts, now),
        "line": ask.number("line"),
        "log": None if ask.live or step is None else _log(ask, job_id, step["id"]),
        "ended": known["state"] in _ENDED,
        "here_job": f"/jobs/{job_id}",
    }


def reasons(ask: Ask) -> dict[str, Any]:
    """`why` with the evidence in its place, the attempts and the history."""
    job_id = job_id_of(ask)
    reason = why.view(ask.app, job_id)
    known = summary(ask.app, job_id)["job"]
    with ask.app.store.read() as connection:
        history = events.of_job(connection, job_id, _EVENTS)
    evidence = reason["evidence"]
    shown = None
    attempt = _log_of(reason)
    if attempt is not None:
        shown = log_view.around(ask.app, job_id, reason["step"], attempt, evidence["line"], _AROUND)
    return {
        "nav": "jobs",
        "job": {name: value for name, value in known.items() if name not in ("stages", "notable")},
        "reason": _reason(reason),
        "attempts": [_plain(row) for row in reason["attempts"]],
        "line_attempt": attempt,
        "context": None if shown is None else shown.as_dict(),
        "history": [_event(row) for row in reversed(history)],
        "here_job": f"/jobs/{job_id}",
    }


def log_length(ask: Ask) -> dict[str, Any]:
    """For the script of the page: how long the log of the selected attempt is."""
    job_id = job_id_of(ask)
    step = ask.word("step") or _selected_name(ask, job_id)
    if step is None:
        return {}
    try:
        attempt, size = logfiles.size(ask.app, job_id, step, ask.number("attempt"))
    except NotFoundError:
        return {}
    return {"log": {"step": step, "attempt": attempt, "size": size}}


def job_id_of(ask: Ask) -> str:
    """The id of the job: by itself, or by that of its Huey task."""
    with ask.app.store.read() as connection:
        return huey_jobs.job_named(connection, ask.path["job_id"])


def _selected_name(ask: Ask, job_id: str) -> str | None:
    with ask.app.store.read() as connection:
        steps = job_store.of_job(connection, job_id)
    found = _selected([{"id": step.name, "state": step.state} for step in steps], "")
    return None if found is None else str(found["id"])


def _selected(steps: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """The step that was asked for, else one that runs, failed, or comes next, or the last."""
    chosen = next((step for step in steps if step["id"] == name), None)
    for state in _HEADED if chosen is None else ():
        chosen = next((step for step in steps if step["state"] == state), chosen)
        if chosen is not None:
            break
    if chosen is None and steps:
        chosen = steps[-1]
    return None if chosen is None else dict(chosen)


def _stages(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The grid: stages in their order, each with its steps."""
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        stage = found.setdefault(step["stage"], {"name": step["stage"], "steps": [], "done": 0})
        stage["steps"].append((step["id"], str(step["state"]), step["attempt"], step["code"]))
        stage["done"] += step["state"] in (StepState.SUCCEEDED, StepState.SKIPPED)
    return list(found.values())


def _panel(step: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    found = {name: value for name, value in step.items() if name not in ("log", "heartbeat_age_s")}
    age = step["heartbeat_age_s"]
    progress = {name: value for name, value in step["progress"].items() if name != "seconds_left"}
    return {**found, "progress": progress, "beat_at": None if age is None else round(ask.app.store.now() - age)}


def _log(ask: Ask, job_id: str, step: str) -> dict[str, Any] | None:
    try:
        line = ask.number("line")
        if line:
            shown = log_view.around(ask.app, job_id, step, ask.number("attempt"), line, 5 * _AROUND)
            if shown is not None:
                return shown.as_dict()
        return log_view.tail(ask.app, job_id, step, ask.number("attempt")).as_dict()
    except NotFoundError:
        return None


def _log_of(reason: Mapping[str, Any]) -> int | None:
    """The attempt whose log has the evidence in one of its lines; None for evidence in another file."""
    evidence, step = reason["evidence"], reason["step"]
    if not evidence or not evidence["line"] or step is None:
        return None
    mine = [row["attempt"] for row in reason["attempts"] if row["step"] == step]
    return next((number for number in mine if evidence["file"] == f"{step}.{number}.log"), None)


def _reason(found: Mapping[str, Any]) -> dict[str, Any]:
    """What pages show of `why`. The seconds in it are left out where the browser counts them itself."""
    kept = ("id", "state", "summary", "step", "waits_for", "code", "class", "evidence", "deck", "remedy", "next")
    return {name: found[name] for name in kept}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """An attempt without paths of this machine, and with its state as a word."""
    return {**{name: value for name, value in row.items() if name != "log"}, "state": str(row["state"])}


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in row["data"].items() if name not in ("params", "log")}
    return {
        "id": row["id"], "at": iso(moment(row["at"])), "event": row["event"], "step": row["step"],
        "attempt": row["attempt"], "worker": row["worker_id"], "data": data,
    }  # fmt: skip


PAGES: Sequence[Page] = (
    Page("/jobs/{job_id}", "job.html", job, more=log_length),
    Page("/jobs/{job_id}/why", "why.html", reasons),
)
