"""`qmrunner why JOB`: the state of a job in one sentence, with the evidence and the next command.

Field names are a public contract (docs/reference/json.md), like those of `reports.status`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.app import App
from qmrunner.model import labels, policy, remedies
from qmrunner.model.jobs import ENGINES, Attempt, Job, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.states import STEP_LIVE, JobState, StepState
from qmrunner.model.text import duration
from qmrunner.reports import interrupted, status
from qmrunner.store import jobs as job_store
from qmrunner.store import workers
from qmrunner.store.ready_steps import ready_before

_NAMED = 3
# Number of lines shown before and after the line of a deck, and how much of a deck is read.
_AROUND, _LONGEST_DECK = 2, 16 << 20
# Remedies for failures of a whole job rather than of one step.
_REMEDIES = {
    "no_conformers": "submit again with --conformers none, or give a three-dimensional structure",
    "weight_lost": "retry the job, which runs the failed conformers again, or submit with a higher --max-lost-weight",
}


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A snapshot of the store. `silent` are workers that have not reported for long, by id, `busy` the live attempts of
    all active workers, `ahead` the ready steps before the job's first, `labelled` whether a running worker has the
    labels that the job requires."""

    job: Job
    steps: list[Step]
    tries: list[Attempt]
    active: list[dict[str, Any]]
    draining: list[dict[str, Any]]
    silent: dict[int, dict[str, Any]]
    labelled: bool
    busy: list[dict[str, Any]]
    paused: bool
    ahead: int
    now: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """One sentence, the step it is about, what the step waits for, and the next command."""

    summary: str
    next: str | None
    step: Step | None = None
    waits_for: str | None = None


def view(
    app: App, job_id: str, most: int | None = None, chosen: str | None = None, outline: list[Step] | None = None
) -> dict[str, Any]:
    """The JSON of `why`. Raises NotFoundError.

    Of a job with more than `most` steps, ``attempts`` has only those of the step `chosen` and of at most `most` steps
    that run, are held, failed or needed several attempts. `outline`: its steps, where they were just read.
    """
    known = _snapshot(app, job_id, most, chosen, outline)
    names = {step.id: step.name for step in known.steps}
    answer = _explain(app, known)
    step, job = answer.step, known.job
    ended = step if step is not None and step.state not in STEP_LIVE else None
    return {
        "id": job.id,
        "state": job.state,
        "summary": answer.summary,
        "step": step.name if step else None,
        "waits_for": answer.waits_for,
        "running": [_running(app, known, live) for live in known.steps if live.state in STEP_LIVE],
        "code": job.code or (ended.code if ended else None),
        "class": ended.failure_class if ended and job.code in (None, ended.code) else None,
        "evidence": (
            {"text": ended.evidence.text, "file": ended.evidence.file, "line": ended.evidence.line}
            if ended and ended.evidence
            else None
        ),
        "deck": _deck(app, ended),
        "remedy": _REMEDIES.get(job.code or "") or (ended.remedy if ended else None),
        "next": answer.next,
        "attempts": [_attempt(names, attempt) for attempt in known.tries],
    }


def _deck(app: App, step: Step | None) -> dict[str, Any] | None:
    """The line of the user's input at which the engine stopped, with the lines around it; None where no line is known
    or the file is not on this machine."""
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
        return None  # a line that qmrunner added to the deck
    around = range(max(1, at - _AROUND), min(len(lines), at + _AROUND) + 1)
    return {
        "file": evidence.input_file,
        "line": at,
        "lines": [{"line": number, "text": lines[number - 1].rstrip()} for number in around],
    }


def _snapshot(app: App, job_id: str, most: int | None, chosen: str | None, outline: list[Step] | None) -> _Snapshot:
    with app.store.read() as connection:
        now = app.store.now()
        job = job_store.get(connection, job_id)
        steps, of = job_store.bounded(connection, job_id, most, chosen, outline)
        everyone = workers.all_workers(connection)
        active = [row for row in everyone if row["state"] == "active" and interrupted.beats(app, row, now)]
        # The order of all ready steps costs a second where hundreds wait: it is asked only where it is reported.
        stuck = active and not any(step.state in STEP_LIVE for step in steps)
        first = next((step.id for step in steps if step.state is StepState.READY), None) if stuck else None
        return _Snapshot(
            job=job,
            steps=steps,
            tries=workers.attempts_of_job(connection, job_id, of),
            active=active,
            draining=[row for row in everyone if row["state"] == "draining" and interrupted.beats(app, row, now)],
            silent={
                row["id"]: row for row in everyone if row["state"] != "stopped" and not interrupted.beats(app, row, now)
            },
            labelled=status.taken_by_any(app, job, everyone),
            busy=workers.live_attempts(connection, [row["id"] for row in everyone]),
            paused=workers.is_paused(connection),
            ahead=0 if first is None else ready_before(connection, now, first),
            now=now,
        )


def _explain(app: App, known: _Snapshot) -> _Answer:
    job = known.job
    if job.state is JobState.SUCCEEDED:
        count = sum(len(remedies.applied(step.params)) for step in known.steps)
        helped = f" after {count} remed{'y' if count == 1 else 'ies'}" if count else ""
        return _Answer(f"the job has succeeded{helped}", f"qmrunner result {job.id}")
    if job.state is JobState.FAILED:
        return _failed(app, known)
    if job.state is JobState.CANCELLED:
        return _Answer(
            "the job was cancelled by request; results of finished steps are kept", f"qmrunner retry {job.id}"
        )
    if job.state is JobState.HELD:
        return _held(known)
    if job.cancel_requested:
        return _Answer(
            "the job is being cancelled: its running engines are being stopped", f"qmrunner status {job.id} --watch"
        )
    live = [step for step in known.steps if step.state in STEP_LIVE]
    return _at_work(app, known, live) if live else _waiting(known)


# -- failed and held --------------------------------------------------------------------------------------------------


def _failed(app: App, known: _Snapshot) -> _Answer:
    job = known.job
    # Prefer the step that ended the job; a step that was replaced by another comes last.
    failed = sorted((step for step in known.steps if step.state is StepState.FAILED), key=remedies.replaced)
    step = next((step for step in failed if step.code == job.code), failed[0] if failed else None)
    tries = 0 if step is None else sum(attempt.step_id == step.id for attempt in known.tries)
    often = f" after {tries} attempts" if tries > 1 else ""
    return _Answer(f"the job has failed{often}: {_reason(job)}", _after_failure(app, known, step), step)


def _after_failure(app: App, known: _Snapshot, step: Step | None) -> str:
    job = known.job
    if step is None:
        return f"qmrunner retry {job.id}"
    if _withheld(app, known, step) is not None:
        return f"qmrunner retry {job.id} --allow-altering"
    again = policy.SAME_AGAIN in (step.summary or "")
    if step.failure_class in ("permanent", "method") or step.code == "unknown" or again:
        # A retry without changes would fail again: point to the log, which has the cause.
        return f"qmrunner logs {job.id} --step {step.name}"
    return f"qmrunner retry {job.id}"


def _withheld(app: App, known: _Snapshot, step: Step) -> str | None:
    """The name of the altering remedy that would be applied next if it were allowed."""
    last = next((attempt for attempt in reversed(known.tries) if attempt.step_id == step.id), None)
    if app.settings.remedies != "neutral" or known.job.params.get("allow_altering") or last is None:
        return None
    outcome = Outcome("failed", step.code or "", failure_class=None, evidence=step.evidence)
    capacity = Capacity(1, last.grant.cores, last.grant.memory_mib)
    failure = remedies.Failure(replace(step, attempt=last.number), outcome, last.grant, capacity)
    found = remedies.propose(failure, app.engine(step.engine).remedies(step.task), "all")
    return None if found is None or found.record["neutral"] else str(found.record["remedy"])


def _held(known: _Snapshot) -> _Answer:
    job = known.job
    step = next((step for step in known.steps if step.state is StepState.HELD), None)
    return _Answer(f"the job is held: {_reason(job)}", f"qmrunner release {job.id}", step)


def _reason(job: Job) -> str:
    return " ".join((job.summary or job.code or "no reason was recorded").split())


# -- running ----------------------------------------------------------------------------------------------------------


def _at_work(app: App, known: _Snapshot, live: Sequence[Step]) -> _Answer:
    step = live[0]
    row = _running(app, known, step)
    owner = next((known.silent.get(t.worker_id) for t in reversed(known.tries) if t.step_id == step.id), None)
    if owner is not None:
        silence = duration(max(0.0, known.now - owner["beat_at"]))
        what = f"ended unexpectedly {silence} ago" if interrupted.gone(owner) else f"has not reported for {silence}"
        text = f"step {step.name} was started by worker {owner['name']}, which {what}"
        then = interrupted.then_of(owner, [*known.active, *known.draining])
        return _Answer(f"{text}; {then}", "qmrunner status" if known.active else "qmrunner run", step)
    more = f"; {len(live) - 1} more step{'s' if len(live) > 2 else ''} running" if len(live) > 1 else ""
    quiet = "" if row["output_age_s"] is None else f"; last output {_ago(row['output_age_s'])}"
    since = "" if row["elapsed_s"] is None else f" for {duration(row['elapsed_s'])}"
    text = f"step {step.name} is {step.state}{since}: {row['progress']}{quiet}{more}"
    return _Answer(text, f"qmrunner logs {known.job.id} --step {step.name} --follow", step)


def _running(app: App, known: _Snapshot, step: Step) -> dict[str, Any]:
    """A live step: its progress, the age of its last output and its resource usage, as far as known on this machine."""
    attempt = next((attempt for attempt in reversed(known.tries) if attempt.step_id == step.id), None)
    if attempt is None:
        return {"step": step.name, "attempt": step.attempt, "progress": "claimed", "output_age_s": None}
    state = status.state_file(app) or {}
    mine = (
        row
        for row in state.get("attempts", ())
        if (row["job"], row["step"], row["attempt"]) == (step.job_id, step.name, attempt.number)
    )
    usage: dict[str, Any] = (next(mine, None) or {}).get("usage") or {}
    elapsed = None if attempt.started_at is None else max(0.0, known.now - attempt.started_at.timestamp())
    progress = status.with_time_left(attempt.progress, known.now)
    text = progress.get("text") or progress.get("phase") or "no progress reported yet"
    text += f", {progress['left']}" if "left" in progress else ""
    text += f"; no progress, it looks {progress['stillness']}" if "stillness" in progress else ""
    return {
        "step": step.name,
        "attempt": attempt.number,
        "progress": text,
        "phase": attempt.progress.get("phase"),
        "elapsed_s": None if elapsed is None else round(elapsed, 1),
        "output_age_s": _output_age(Path(attempt.log), time.time()),
        "cores": attempt.grant.cores,
        "cpu_s": usage.get("cpu_s"),
        "memory_mib": usage.get("memory_mib"),
        "memory_granted_mib": attempt.grant.memory_mib,
        "scratch_mib": usage.get("scratch_mib"),
        "log": attempt.log,
    }


def _output_age(log: Path, now: float) -> float | None:
    """Seconds since the log last grew; None where it is on another machine, or empty."""
    try:
        found = log.stat()
    except OSError:
        return None
    return round(max(0.0, now - found.st_mtime), 1) if found.st_size else None


# -- waiting ----------------------------------------------------------------------------------------------------------


def _waiting(known: _Snapshot) -> _Answer:
    job = known.job
    step = next((step for step in known.steps if step.state is StepState.READY), None)
    if step is None:
        return _Answer("the job waits until its workflow adds the next step", f"qmrunner status {job.id} --watch")
    reason, command = _what_for(known, step)
    last = f" (attempt {step.attempt}: {' '.join(step.summary.split())})" if step.summary and step.attempt else ""
    return _Answer(f"step {step.name} waits for {reason}{last}", command, step, reason)


def _what_for(known: _Snapshot, step: Step) -> tuple[str, str]:
    if step.engine not in ENGINES:
        return f"a worker that has the engine {step.engine!r}: this version has none", "qmrunner status"
    watch = f"qmrunner status {known.job.id} --watch"
    if known.paused:
        return "the end of the pause: an operator has paused all workers", "qmrunner resume"
    if not known.active:
        if known.draining:
            return "a worker that claims steps: all running workers are draining", "qmrunner resume"
        return "a worker: none is running", "qmrunner run"
    if not known.labelled:
        return labels.waits_for(known.job.requires), "qmrunner status"
    if step.not_before is not None and step.not_before.timestamp() > known.now:
        left = step.not_before.timestamp() - known.now
        return f"its next attempt, in {duration(left)}", watch
    if step.waits_for:
        return step.waits_for, watch
    needs = f"{step.demand.cores_min} core{'s' if step.demand.cores_min > 1 else ''}"
    needs += f" and {step.demand.memory_mib(step.demand.cores_min)} MiB"
    ahead = f"; {known.ahead} ready step{'s' if known.ahead > 1 else ''} before it" if known.ahead else ""
    return f"a worker with a free slot, {needs}: {_taken(known)}{ahead}", watch


def _taken(known: _Snapshot) -> str:
    cores = sum(row["cores"] for row in known.active)
    if not known.busy:
        return f"all {cores} cores are free, so it should start within one heartbeat"
    used = sum(row["granted"]["cores"] for row in known.busy)
    names = [f"{row['job_id']}/{row['step_name']}" for row in known.busy]
    others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{used} of {cores} cores are used by {', '.join(names[:_NAMED])}{others}"


# -- attempts ---------------------------------------------------------------------------------------------------------


def _attempt(names: Mapping[int, str], attempt: Attempt) -> dict[str, Any]:
    return {
        "step": names.get(attempt.step_id),
        "attempt": attempt.number,
        "state": attempt.state,
        "code": attempt.code,
        "summary": attempt.summary,
        "changed": remedies.changed(attempt.notes, attempt.number),
        "cores": attempt.grant.cores,
        "reserved": asdict(attempt.grant),
        "notes": list(attempt.notes),
        "usage": attempt.usage,
        "log": attempt.log,
        "started_at": status.iso(attempt.started_at),
        "finished_at": status.iso(attempt.finished_at),
    }


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago"
