"""The outcome of an attempt whose engine has ended or could not start. Nothing here accesses the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from errno import EDQUOT, ENOSPC
from typing import Any

from qmrunner import untrusted
from qmrunner.attempt import denials, hang_watch
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.directory import LogProblem, log_objection
from qmrunner.attempt.spawner_client import NotForked
from qmrunner.engines.base import Engine
from qmrunner.engines.huey import HARD_TIMEOUT
from qmrunner.engines.input_check import Finding
from qmrunner.errors import QmrunnerError
from qmrunner.logs import get as get_logger
from qmrunner.model.jobs import Evidence, Exit, Outcome

FOLDER_LOST, LOG_LOST = "attempt_folder_lost", "log_lost"  # also reasons to stop an attempt
SUSPENDED = "a suspension of its worker"
_AFTER_THAW_S = 60.0
_NO_SPACE = (ENOSPC, EDQUOT)
_FULL = ("scratch_full", "truncated_output")  # codes of an engine whose log was truncated


def read_exit(record: dict[str, Any]) -> Exit:
    """Convert a guardian's exit record."""
    known: dict[str, Any] = {name: record.get(name) for name in Exit.__slots__ if name in record}
    return Exit(**known)


def outcome_of(attempt: ActiveAttempt, engine: Engine, exit: Exit) -> Outcome:
    """The engine's interpretation of its directory; an error in our readers becomes an outcome, never a crash."""
    lost = outcome_of_loss(attempt)
    if lost is not None:
        return lost if exit.stop_reason in (None, FOLDER_LOST, LOG_LOST) else _stopped(lost)
    try:
        outcome = engine.interpret(attempt.step, attempt.directory.work, attempt.log, exit)
        if outcome.state == "failed" and exit.stop_reason is None:
            outcome = denials.explain(outcome, attempt.log, attempt.directory.policy(), _findings(attempt, engine))
        outcome = _named_volume(attempt, exit, _refused(attempt, outcome) or outcome)
    except OSError as problem:
        outcome = _unreadable(problem)
    except Exception as error:
        get_logger().exception(
            "interpretation_failed", job=attempt.job.id, step=attempt.step.name, attempt=attempt.number
        )
        return Outcome(
            state="failed",
            code="internal_error",
            failure_class="permanent",
            evidence=Evidence(repr(error)),
            summary="qmrunner could not read the engine's output",
            remedy=f"report this; the raw output is in {attempt.log}",
        )
    if outcome.state != "succeeded" and exit.stop_reason == "hung":
        if outcome.failure_class not in (None, "transient"):
            return replace(outcome, state="failed")  # the engine had reported the cause itself
        return hang_watch.outcome(attempt, outcome)
    if exit.stop_reason == HARD_TIMEOUT and outcome.state == "failed":
        return outcome
    if outcome.state == "failed" and exit.stop_reason is not None and not outcome.reported:
        return _stopped(outcome)
    return outcome


def after_suspension(attempt: ActiveAttempt, exit: Exit, outcome: Outcome) -> tuple[Outcome, str | None]:
    """The outcome and the reason of the stop. A kill without a reason, of an engine whose worker has just continued
    after it was stopped (`scontrol suspend` does that), is no failure of the engine.

    Another worker of this machine may have taken the worker for dead and killed its engines, and a frozen process meets
    that kill only when it continues.
    """
    thawed = attempt.thawed_at is not None and time.monotonic() - attempt.thawed_at < _AFTER_THAW_S
    if thawed and exit.stop_reason is None and outcome.code == "killed":
        return _stopped(outcome), SUSPENDED
    return outcome, exit.stop_reason


def _findings(attempt: ActiveAttempt, engine: Engine) -> Sequence[Finding]:
    """Findings of the input check on the attempt's input files, if all still exist."""
    files = {}
    for name in attempt.step.inputs:
        with suppress(OSError):
            files[name] = untrusted.read_bytes(attempt.directory.work / name)
    return engine.findings(attempt.step, files, strict=False) if len(files) == len(attempt.step.inputs) else ()


def _stopped(outcome: Outcome) -> Outcome:
    return Outcome(state="stopped", code="stopped", evidence=outcome.evidence)


def loss_of(attempt: ActiveAttempt) -> tuple[str, str] | None:
    """Code and evidence when an attempt's folder or log was removed or replaced."""
    if what := attempt.directory.lost():
        return FOLDER_LOST, what
    if what := log_objection(attempt.log):
        return LOG_LOST, what
    return None


def outcome_of_loss(attempt: ActiveAttempt) -> Outcome | None:
    """The outcome of an attempt whose folder or log is lost; None while both exist."""
    lost = loss_of(attempt)
    if lost is None:
        return None
    code, what = lost
    if code == FOLDER_LOST:
        return Outcome(
            state="failed",
            code=code,
            failure_class="transient",
            evidence=Evidence(what),
            summary="the attempt's folder was removed or replaced while the engine ran",
            remedy=f"check what cleans {attempt.directory.path.parents[2]}; else the engine did it: check its input",
        )
    return Outcome(
        state="failed",
        code=code,
        failure_class="operator",
        evidence=Evidence(what),
        summary="the engine's log was removed or replaced while it ran",
        remedy=f"check what removes files below {attempt.log.parents[1]}; then `qmrunner retry {attempt.job.id}`",
    )


def _refused(attempt: ActiveAttempt, outcome: Outcome) -> Outcome | None:
    """The outcome when a result cannot be published: not a regular file, not readable, or mostly holes."""
    if outcome.state != "succeeded":
        return None
    for name in outcome.publish:
        why = untrusted.objection(attempt.directory.work / name)
        if why is not None and untrusted.is_there(attempt.directory.work / name):
            return _result_refused(why, name)
    return None


def _unreadable(problem: OSError) -> Outcome:
    if problem.errno in _NO_SPACE:
        return outcome_of_problem(problem)
    return _result_refused(str(problem), None)


def _result_refused(why: str, name: str | None) -> Outcome:
    return Outcome(
        state="failed",
        code="result_refused",
        failure_class="permanent",
        evidence=Evidence(why, name),
        summary="the engine's output cannot be read as a result",
        remedy="a result must be a regular, readable file without large holes: check what the engine was asked for",
    )


def _named_volume(attempt: ActiveAttempt, exit: Exit, outcome: Outcome) -> Outcome:
    """Correct the volume: an engine reports a truncated log as full scratch; the guardian knows the full volume."""
    if outcome.code not in _FULL or not exit.logs_full:
        return outcome
    evidence = outcome.evidence if outcome.evidence and outcome.evidence.file == attempt.log.name else None
    return replace(
        outcome,
        code="logs_full",
        evidence=evidence or Evidence("the volume of the logs was full during the run", attempt.log.name),
        summary="the volume of the logs was full",
        remedy=_LOGS_REMEDY.format(attempt.log.parents[1]),
    )


_LOGS_REMEDY = "free or enlarge the volume of {}, then `qmrunner retry JOB`"


def outcome_of_problem(problem: Exception) -> Outcome:
    """The outcome of an attempt that could not be started."""
    if isinstance(problem, QmrunnerError):
        return Outcome(
            state="failed",
            code=problem.code,
            failure_class="operator",
            evidence=Evidence(problem.evidence) if problem.evidence else None,
            summary=problem.message,
            remedy=problem.remedy,
        )
    if isinstance(problem, LogProblem):
        full = problem.errno in _NO_SPACE
        return Outcome(
            state="failed",
            code="logs_full" if full else "log_not_accessible",
            failure_class="transient",
            evidence=Evidence(str(problem)),
            summary="the attempt's log could not be made",
            remedy=_LOGS_REMEDY.format(problem.filename) if full else f"give this user access to {problem.filename}",
        )
    if isinstance(problem, NotForked):
        return Outcome(
            state="failed",
            code="guardian_not_started",
            failure_class="transient",
            evidence=Evidence(str(problem)),
            summary="the machine could not start a process for the attempt's guardian",
            remedy="see `ulimit -u`, the pids limit of the container, and the other processes on this machine",
        )
    if isinstance(problem, (untrusted.Refused, FileExistsError)):
        return Outcome(
            state="failed",
            code="attempt_folder_foreign",
            failure_class="operator",
            evidence=Evidence(str(problem)),
            summary="another file or folder is in the place of the attempt's folder",
            remedy="find out what made it, and remove it; QMRUNNER_SCRATCH must be writable by this user only",
        )
    if isinstance(problem, OSError):
        return Outcome(
            state="failed",
            code="scratch_full" if problem.errno in _NO_SPACE else "directory_not_accessible",
            failure_class="transient",
            evidence=Evidence(str(problem)),
            summary="the attempt's directory could not be prepared",
            remedy="free space on, or give access to, the scratch volume; see `qmrunner status`",
        )
    get_logger().error("preparation_failed", error=repr(problem))
    return Outcome(
        state="failed",
        code="internal_error",
        failure_class="permanent",
        evidence=Evidence(repr(problem)),
        summary="qmrunner could not prepare this step",
        remedy="report this with the evidence line",
    )
