"""The pages of one job: its steps, attempts and log, and why it is in its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.api import logfiles
from qmrunner.errors import NotFoundError, UsageError
from qmrunner.model.jobs import Step
from qmrunner.model.states import STEP_LIVE, JobState, StepState
from qmrunner.reports import arguments, interrupted, status, why
from qmrunner.reports.jobs import LETTERS, stage, summary
from qmrunner.reports.status import iso
from qmrunner.store import events, huey_jobs
from qmrunner.store import jobs as job_store
from qmrunner.store.rows import moment
from qmrunner.web import log_view
from qmrunner.web.look import Ask, Page
from qmrunner.web.present import SHAPES, STATES, unix
from qmrunner.web.timeline import drawn

_AROUND = 20
_EVENTS = 300
# A job with more steps shows the attempts of notable steps only; a stage with more has letters instead of links.
MANY, _LONG = 200, 120
_NAMED = 30
# The end of a bar that grows moves this often, s.
_GROWS_S = 10
_ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
# Detail of the hang watch and of hang reports is shown on the page of reasons.
_HEADED = ("running", "claimed", "held", "failed", "ready", "waiting", "cancelled")


def job(ask: Ask) -> dict[str, Any]:
    """The whole page: state in words, grid of steps, timeline, and the panel of one step."""
    job_id = job_id_of(ask)
    with ask.app.store.read() as connection:
        row = job_store.get(connection, job_id)
        steps = job_store.outline(connection, job_id)
        stopped = interrupted.of_jobs(ask.app, connection, [row])
    chosen = _selected(steps, ask.word("step"))
    reason = why.view(ask.app, job_id, MANY, chosen, steps)
    shown = status.job_row(row, steps, stopped)
    halt = shown["interrupted"]
    attempts = [_plain(found, halt) for found in reason["attempts"]]
    now = ask.app.store.now() // _GROWS_S * _GROWS_S + _GROWS_S
    if halt is not None:
        now = unix(halt["since"]) or now  # the bars of its attempts grow no more
    mine = [found for found in attempts if found["step"] == chosen]
    attempt = next((found for found in mine if found["attempt"] == ask.number("attempt")), mine[-1] if mine else None)
    step = None if chosen is None else status.step_view(ask.app, job_id, chosen)
    return {
        "nav": "jobs",
        "job": shown,
        "reason": _reason(reason),
        "stages": stages(steps, halt),
        "words": grid_words(halt),
        "steps_total": len(steps),
        "step": None if step is None else _panel(step, ask, halt),
        "attempt": attempt,
        "attempts": mine,
        "timeline": drawn(attempts, now),
        "more_attempts": len(steps) > MANY,
        "line": ask.number("line"),
        "log": None if ask.live or chosen is None else _log(ask, job_id, chosen),
        "ended": row.state in _ENDED,
        "arguments": _arguments(ask, job_id) if row.kind == "huey" and not ask.live else None,
        "here_job": f"/jobs/{job_id}",
    }


def reasons(ask: Ask) -> dict[str, Any]:
    """`why` with the evidence in its place, the attempts and the history."""
    job_id = job_id_of(ask)
    reason = why.view(ask.app, job_id, MANY)
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
        "attempts": [_plain(row, known["interrupted"]) for row in reason["attempts"]],
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
        return _selected(job_store.outline(connection, job_id), "")


def _selected(steps: Sequence[Step], name: str) -> str | None:
    """The step that was asked for, else one that runs, failed, or comes next, or the last."""
    if any(step.name == name for step in steps):
        return name
    for state in _HEADED:
        found = next((step.name for step in steps if step.state == state), None)
        if found is not None:
            return found
    return steps[-1].name if steps else None


def word_of(state: str, halt: Mapping[str, Any] | None) -> str:
    """The state of a step or attempt as shown: none runs in an interrupted job."""
    return "interrupted" if halt and state in STEP_LIVE else str(state)


def stages(steps: Sequence[Step], halt: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The grid: stages in their order. A short stage has its steps, a long one a letter for each step."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.stage, []).append(step)
    return [_stage(name, mine, halt) for name, mine in found.items()]


def _stage(name: str, mine: Sequence[Step], halt: Mapping[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "total": len(mine),
        "done": sum(step.state in (StepState.SUCCEEDED, StepState.SKIPPED) for step in mine),
        "steps": [],
        "letters": None,
    }
    shown = mine
    if len(mine) > _LONG:
        letters = stage(name, mine)
        row |= {"letters": letters["states"], "prefix": letters["prefix"], "ids": " ".join(letters["ids"])}
        row["counts"] = letters["counts"]
        shown = [step for step in mine if step.attempt > 1 or step.state not in job_store.PLAIN][:_NAMED]
    row["steps"] = [(step.name, word_of(step.state, halt), step.attempt, step.code) for step in shown]
    return row


def grid_words(halt: Mapping[str, Any] | None = None) -> dict[str, dict[str, str]]:
    """What a letter of a long stage means: the state, its kind and its shape."""
    words = {letter: word_of(state, halt) for state, letter in LETTERS.items()}
    return {
        letter: {"word": word, "kind": STATES[word], "shape": SHAPES[STATES[word]]} for letter, word in words.items()
    }


def _panel(step: Mapping[str, Any], ask: Ask, halt: Mapping[str, Any] | None) -> dict[str, Any]:
    found = {name: value for name, value in step.items() if name not in ("log", "heartbeat_age_s")}
    age = step["heartbeat_age_s"]
    without = ("seconds_left", "left") if halt else ("seconds_left",)  # no forecast holds for what does not run
    progress = {name: value for name, value in step["progress"].items() if name not in without}
    return {
        **found,
        "state": word_of(step["state"], halt),
        "progress": progress,
        "beat_at": None if age is None else round(ask.app.store.now() - age),
    }


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


def _arguments(ask: Ask, job_id: str) -> dict[str, Any]:
    """Of a task: nothing until a user who may submit jobs asks for them, for they may hold secrets."""
    if ask.scope == "read" or not ask.word("arguments"):
        return {"shown": None, "problem": None}
    try:
        return {"shown": arguments.view(ask.app, job_id), "problem": None}
    except UsageError as problem:
        return {"shown": None, "problem": problem.as_dict()}


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


def _plain(row: Mapping[str, Any], halt: Mapping[str, Any] | None) -> dict[str, Any]:
    """An attempt without paths of this machine, and with its state as a word."""
    return {**{name: value for name, value in row.items() if name != "log"}, "state": word_of(row["state"], halt)}


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
