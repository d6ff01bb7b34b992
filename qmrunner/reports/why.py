"""`qmrunner why JOB`: what is happening or went wrong, in one sentence, with the evidence and the next command.

Field names are the outside contract (docs/operating.md), like those of `views`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.app import App
from qmrunner.model import labels, policy, remedies
from qmrunner.model.jobs import Attempt, Job, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.states import STEP_LIVE, JobState, StepState
from qmrunner.model.text import duration
from qmrunner.reports import status
from qmrunner.store import claims, ready_steps, workers
from qmrunner.store import jobs as job_store

_NAMED = 3
# Lines before and after the one of a deck that is shown, and how much of a deck is read.
_AROUND, _LONGEST_DECK = 2, 16 << 20
# Of failures that are a job's and not one step's.
_REMEDIES = {
    "no_conformers": "submit again with --conformers none, or give a three-dimensional structure",
    "weight_lost": "retry the job, which runs the failed conformers again, or submit with a higher --max-lost-weight",
}


@dataclass(frozen=True, slots=True)
class _Known:
    """One look at the store. `busy` are the live attempts of all active workers, `ahead` the ready steps in front of
    the job's first, `labelled` whether a running worker has the labels that the job requires."""

    job: Job
    steps: list[Step]
    tries: list[Attempt]
    active: list[dict[str, Any]]
    draining: list[dict[str, Any]]
    labelled: bool
    busy: list[dict[str, Any]]
    paused: bool
    ahead: int
    now: float


@dataclass(frozen=True, slots=True)
class _Said:
    """One sentence, the step it is about, what is waited for, and the command that comes next."""

    summary: str
    next: str | None
    step: Step | None = None
    waits_for: str | None = None


def view(app: App, job_id: str) -> dict[str, Any]:
    """The JSON of `why`. Raises NotFoundError."""
    known = _look(app, job_id)
    said = _say(app, known)
    step, job = said.step, known.job
    told = step if step is not None and step.state not in STEP_LIVE else None
    return {
        "id": job.id,
        "state": job.state,
        "summary": said.summary,
        "step": step.name if step else None,
        "waits_for": said.waits_for,
        "running": [_running(app, known, one) for one in known.steps if one.state in STEP_LIVE],
        "code": job.code or (told.code if told else None),
        "class": told.failure_class if told and job.code in (None, told.code) else None,
        "evidence": (
            {"text": told.evidence.text, "file": told.evidence.file, "line": told.evidence.line}
            if told and told.evidence
            else None
        ),
        "deck": _deck(app, told),
        "remedy": _REMEDIES.get(job.code or "") or (told.remedy if told else None),
        "next": said.next,
        "attempts": [_attempt(known, one) for one in known.tries],
    }


def _deck(app: App, step: Step | None) -> dict[str, Any] | None:
    """The line of the job's own input that the engine stopped at, with those around it; None where none is known, or
    the file is not on this machine."""
    evidence = step.evidence if step else None
    if step is None or evidence is None or evidence.input_file is None or evidence.input_line is None:
        return None
    try:
        folder = app.settings.jobs_root / step.job_id
        with untrusted.open_file(folder / evidence.input_file, _LONGEST_DECK, below=folder) as file:
            text = file.read(_LONGEST_DECK).decode("utf-8", "replace")
    except OSError:
        return None
    at, lines = evidence.input_line, text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    if not 0 < at <= len(lines):
        return None  # a line that qmrunner added
    around = range(max(1, at - _AROUND), min(len(lines), at + _AROUND) + 1)
    return {
        "file": evidence.input_file,
        "line": at,
        "lines": [{"line": number, "text": lines[number - 1].rstrip()} for number in around],
    }


def _look(app: App, job_id: str) -> _Known:
    with app.store.read() as connection:
        now = app.store.now()
        job = job_store.get(connection, job_id)
        steps = job_store.of_job(connection, job_id)
        everyone = workers.all_workers(connection)
        first = next((step.id for step in steps if step.state is StepState.READY), None)
        return _Known(
            job=job,
            steps=steps,
            tries=workers.attempts_of_job(connection, job_id),
            active=[row for row in everyone if row["state"] == "active" and status.beats(app, row, now)],
            draining=[row for row in everyone if row["state"] == "draining" and status.beats(app, row, now)],
            labelled=status.taken_by_any(app, job, everyone),
            busy=workers.live_attempts(connection, [row["id"] for row in everyone]),
            paused=claims.is_paused(connection),
            ahead=0 if first is None else ready_steps.ready_before(connection, now, first),
            now=now,
        )


def _say(app: App, known: _Known) -> _Said:
    job = known.job
    if job.state is JobState.SUCCEEDED:
        count = sum(len(remedies.applied(step.params)) for step in known.steps)
        helped = f", helped by {count} remed{'y' if count == 1 else 'ies'}" if count else ""
        return _Said(f"the job has succeeded{helped}", f"qmrunner result {job.id}")
    if job.state is JobState.FAILED:
        return _failed(app, known)
    if job.state is JobState.CANCELLED:
        return _Said("the job was cancelled by request; what was finished is kept", f"qmrunner retry {job.id}")
    if job.state is JobState.HELD:
        return _held(known)
    if job.cancel_requested:
        return _Said("the job is being cancelled: its engines are being stopped", f"qmrunner status {job.id} --watch")
    live = [step for step in known.steps if step.state in STEP_LIVE]
    return _at_work(app, known, live) if live else _waiting(known)


# -- failed and held --------------------------------------------------------------------------------------------------


def _failed(app: App, known: _Known) -> _Said:
    job = known.job
    # The one that ended the job; a step that another one replaced comes last.
    failed = sorted((one for one in known.steps if one.state is StepState.FAILED), key=remedies.replaced)
    step = next((one for one in failed if one.code == job.code), failed[0] if failed else None)
    tries = 0 if step is None else sum(one.step_id == step.id for one in known.tries)
    often = f" after {tries} attempts" if tries > 1 else ""
    return _Said(f"the job has failed{often}: {_reason(job)}", _after_failure(app, known, step), step)


def _after_failure(app: App, known: _Known, step: Step | None) -> str:
    job = known.job
    if step is None:
        return f"qmrunner retry {job.id}"
    if _withheld(app, known, step) is not None:
        return f"qmrunner retry {job.id} --allow-altering"
    again = policy.SAME_AGAIN in (step.summary or "")
    if step.failure_class in ("permanent", "method") or step.code == "unknown" or again:
        # The same again would fail again: what is wrong stands in the log.
        return f"qmrunner logs {job.id} --step {step.name}"
    return f"qmrunner retry {job.id}"


def _withheld(app: App, known: _Known, step: Step) -> str | None:
    """The name of an altering remedy that would come next if it were allowed."""
    last = next((one for one in reversed(known.tries) if one.step_id == step.id), None)
    if app.settings.remedies != "neutral" or known.job.params.get("allow_altering") or last is None:
        return None
    outcome = Outcome("failed", step.code or "", failure_class=None, evidence=step.evidence)
    capacity = Capacity(1, last.grant.cores, last.grant.memory_mib)
    failure = remedies.Failure(replace(step, attempt=last.number), outcome, last.grant, capacity)
    found = remedies.propose(failure, app.engine(step.engine).remedies(step.task), "all")
    return None if found is None or found.record["neutral"] else str(found.record["remedy"])


def _held(known: _Known) -> _Said:
    job = known.job
    step = next((one for one in known.steps if one.state is StepState.HELD), None)
    return _Said(f"the job is held: {_reason(job)}", f"qmrunner release {job.id}", step)


def _reason(job: Job) -> str:
    return " ".join((job.summary or job.code or "no reason recorded").split())


# -- running ----------------------------------------------------------------------------------------------------------


def _at_work(app: App, known: _Known, live: Sequence[Step]) -> _Said:
    step = live[0]
    row = _running(app, known, step)
    more = f"; {len(live) - 1} more step{'s' if len(live) > 2 else ''} running" if len(live) > 1 else ""
    quiet = "" if row["output_age_s"] is None else f"; last output {_ago(row['output_age_s'])}"
    since = "" if row["elapsed_s"] is None else f" for {duration(row['elapsed_s'])}"
    text = f"step {step.name} is {step.state}{since}: {row['progress']}{quiet}{more}"
    return _Said(text, f"qmrunner logs {known.job.id} --step {step.name} --follow", step)


def _running(app: App, known: _Known, step: Step) -> dict[str, Any]:
    """A live step: where it stands, how old its last output is, and what it uses, as far as this machine can see."""
    one = next((one for one in reversed(known.tries) if one.step_id == step.id), None)
    if one is None:
        return {"step": step.name, "attempt": step.attempt, "progress": "claimed", "output_age_s": None}
    state = status.state_file(app) or {}
    mine = (
        row
        for row in state.get("attempts", ())
        if (row["job"], row["step"], row["attempt"]) == (step.job_id, step.name, one.number)
    )
    usage: dict[str, Any] = (next(mine, None) or {}).get("usage") or {}
    elapsed = None if one.started_at is None else max(0.0, known.now - one.started_at.timestamp())
    told = status.with_time_left(one.progress, known.now)
    text = told.get("text") or told.get("phase") or "no progress told yet"
    text += f", {told['left']}" if "left" in told else ""
    text += f"; nothing moves, it looks {told['stillness']}" if "stillness" in told else ""
    return {
        "step": step.name,
        "attempt": one.number,
        "progress": text,
        "phase": one.progress.get("phase"),
        "elapsed_s": None if elapsed is None else round(elapsed, 1),
        "output_age_s": _output_age(Path(one.log), time.time()),
        "cores": one.grant.cores,
        "cpu_s": usage.get("cpu_s"),
        "memory_mib": usage.get("memory_mib"),
        "memory_granted_mib": one.grant.memory_mib,
        "scratch_mib": usage.get("scratch_mib"),
        "log": one.log,
    }


def _output_age(log: Path, now: float) -> float | None:
    """Seconds since the log last grew; None where it is on another machine, or empty."""
    try:
        found = log.stat()
    except OSError:
        return None
    return round(max(0.0, now - found.st_mtime), 1) if found.st_size else None


# -- waiting ----------------------------------------------------------------------------------------------------------


def _waiting(known: _Known) -> _Said:
    job = known.job
    step = next((one for one in known.steps if one.state is StepState.READY), None)
    if step is None:
        return _Said("the job waits for its workflow to add the next step", f"qmrunner status {job.id} --watch")
    reason, command = _what_for(known, step)
    last = f" (attempt {step.attempt}: {' '.join(step.summary.split())})" if step.summary and step.attempt else ""
    return _Said(f"step {step.name} waits for {reason}{last}", command, step, reason)


def _what_for(known: _Known, step: Step) -> tuple[str, str]:
    watch = f"qmrunner status {known.job.id} --watch"
    if known.paused:
        return "the end of a pause: an operator has paused all workers", "qmrunner resume"
    if not known.active:
        if known.draining:
            return "a worker that claims again: all of them are draining", "qmrunner resume"
        return "a worker: none is running", "qmrunner run"
    if not known.labelled:
        return labels.waits_for(known.job.requires), "qmrunner status"
    if step.not_before is not None and step.not_before.timestamp() > known.now:
        left = step.not_before.timestamp() - known.now
        return f"{duration(left)} before it is tried again", watch
    if step.waits_for:
        return step.waits_for, watch
    needs = f"{step.demand.cores_min} core{'s' if step.demand.cores_min > 1 else ''}"
    needs += f" and {step.demand.memory_mib(step.demand.cores_min)} MiB"
    ahead = f"; {known.ahead} ready step{'s' if known.ahead > 1 else ''} before it" if known.ahead else ""
    return f"a worker with a free slot, {needs}: {_taken(known)}{ahead}", watch


def _taken(known: _Known) -> str:
    cores = sum(row["cores"] for row in known.active)
    if not known.busy:
        return f"all {cores} cores are free, it should start within a beat"
    used = sum(row["granted"]["cores"] for row in known.busy)
    names = [f"{row['job_id']}/{row['step_name']}" for row in known.busy]
    others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{used} of {cores} cores are taken by {', '.join(names[:_NAMED])}{others}"


# -- attempts ---------------------------------------------------------------------------------------------------------


def _attempt(known: _Known, one: Attempt) -> dict[str, Any]:
    step = next((step for step in known.steps if step.id == one.step_id), None)
    return {
        "step": step.name if step else None,
        "attempt": one.number,
        "state": one.state,
        "code": one.code,
        "summary": one.summary,
        "changed": remedies.changed(one.notes, one.number),
        "cores": one.grant.cores,
        "reserved": asdict(one.grant),
        "notes": list(one.notes),
        "usage": one.usage,
        "log": one.log,
        "started_at": status.iso(one.started_at),
        "finished_at": status.iso(one.finished_at),
    }


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago"
