"""After an engine has ended, or could not start: what its attempt came to. Nothing here touches the store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from errno import ENOSPC
from typing import Any

from qmrunner import untrusted
from qmrunner.attempt import denials, hang_watch
from qmrunner.attempt.active import Live
from qmrunner.attempt.directory import LogProblem, log_objection
from qmrunner.attempt.spawner_client import NotForked
from qmrunner.engines.base import Engine
from qmrunner.engines.confinement import Finding
from qmrunner.errors import QmrunnerError
from qmrunner.logs import get as get_logger
from qmrunner.model.jobs import Evidence, Exit, Outcome

FOLDER_LOST, LOG_LOST = "attempt_folder_lost", "log_lost"  # also why an attempt is stopped
_FULL = ("scratch_full", "truncated_output")  # what an engine says whose log was cut


def read_exit(record: dict[str, Any]) -> Exit:
    """From a guardian's exit record."""
    known: dict[str, Any] = {name: record.get(name) for name in Exit.__slots__ if name in record}
    return Exit(**known)


def outcome_of(live: Live, engine: Engine, exit: Exit) -> Outcome:
    """What the engine makes of its directory; a fault in our own reading is an outcome too, never a crash."""
    lost = outcome_of_loss(live)
    if lost is not None:
        return lost if exit.stop_reason in (None, FOLDER_LOST, LOG_LOST) else _stopped(lost)
    try:
        outcome = engine.interpret(live.step, live.folder.work, live.log, exit)
        if outcome.state == "failed" and exit.stop_reason is None:
            outcome = denials.explain(outcome, live.log, live.folder.policy(), _findings(live, engine))
        outcome = _named_volume(live, exit, _refused(live, outcome) or outcome)
    except OSError as problem:
        outcome = _unreadable(problem)
    except Exception as error:
        get_logger().exception("interpretation_failed", job=live.job.id, step=live.step.name, attempt=live.number)
        return Outcome(
            state="failed",
            code="internal_error",
            failure_class="permanent",
            evidence=Evidence(repr(error)),
            summary="qmrunner could not read what the engine left",
            remedy=f"report this; the raw output is in {live.log}",
        )
    if outcome.state != "succeeded" and exit.stop_reason == "hung":
        if outcome.failure_class not in (None, "transient"):
            return replace(outcome, state="failed")  # it had said why, and some of its processes stayed behind
        return hang_watch.outcome(live, outcome)
    if outcome.state == "failed" and exit.stop_reason is not None:
        return _stopped(outcome)
    return outcome


def _findings(live: Live, engine: Engine) -> Sequence[Finding]:
    """What the check says of the files with which the attempt ran, as far as they are still there."""
    files = {}
    for name in live.step.inputs:
        with suppress(OSError):
            files[name] = untrusted.read_bytes(live.folder.work / name)
    return engine.findings(live.step, files, strict=False) if len(files) == len(live.step.inputs) else ()


def _stopped(outcome: Outcome) -> Outcome:
    return Outcome(state="stopped", code="stopped", evidence=outcome.evidence)


def loss_of(live: Live) -> tuple[str, str] | None:
    """Code and evidence when an attempt's folder or log is not what was made for it any more."""
    if what := live.folder.lost():
        return FOLDER_LOST, what
    if what := log_objection(live.log):
        return LOG_LOST, what
    return None


def outcome_of_loss(live: Live) -> Outcome | None:
    """The outcome of an attempt whose folder or log is lost; None while both are there."""
    lost = loss_of(live)
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
            remedy=f"see what cleans {live.folder.path.parents[2]}; else the engine did it: look at its input",
        )
    return Outcome(
        state="failed",
        code=code,
        failure_class="operator",
        evidence=Evidence(what),
        summary="the engine's log was removed or replaced while it ran",
        remedy=f"see what removes files below {live.log.parents[1]}; then `qmrunner retry {live.job.id}`",
    )


def _refused(live: Live, outcome: Outcome) -> Outcome | None:
    """The outcome when a result cannot be published: no regular file, not readable, or all but made of holes."""
    if outcome.state != "succeeded":
        return None
    for name in outcome.publish:
        why = untrusted.objection(live.folder.work / name)
        if why is not None and untrusted.is_there(live.folder.work / name):
            return _result_refused(why, name)
    return None


def _unreadable(problem: OSError) -> Outcome:
    if problem.errno == ENOSPC:
        return outcome_of_problem(problem)
    return _result_refused(str(problem), None)


def _result_refused(why: str, name: str | None) -> Outcome:
    return Outcome(
        state="failed",
        code="result_refused",
        failure_class="permanent",
        evidence=Evidence(why, name),
        summary="what the engine left cannot be read as a result",
        remedy="a result is a regular, readable file of what was really written: look at what the engine was asked for",
    )


def _named_volume(live: Live, exit: Exit, outcome: Outcome) -> Outcome:
    """A log that was cut looks to an engine like a full scratch volume: the guardian knows which one was full."""
    if outcome.code not in _FULL or not exit.logs_full:
        return outcome
    seen = outcome.evidence if outcome.evidence and outcome.evidence.file == live.log.name else None
    return replace(
        outcome,
        code="logs_full",
        evidence=seen or Evidence("the volume of the logs was full during the run", live.log.name),
        summary="the volume of the logs was full",
        remedy=_LOGS_REMEDY.format(live.log.parents[1]),
    )


_LOGS_REMEDY = "free or enlarge the volume of {}, then `qmrunner retry JOB`"


def outcome_of_problem(problem: Exception) -> Outcome:
    """The outcome of an attempt that could not even be started."""
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
        full = problem.errno == ENOSPC
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
            summary="the machine gave no process for the attempt's guardian",
            remedy="see `ulimit -u`, the pids limit of the container, and what else runs here",
        )
    if isinstance(problem, (untrusted.Refused, FileExistsError)):
        return Outcome(
            state="failed",
            code="attempt_folder_foreign",
            failure_class="operator",
            evidence=Evidence(str(problem)),
            summary="something that is not ours lies where the attempt's folder belongs",
            remedy="see who made it, and remove it; QMRUNNER_SCRATCH must be a folder of this user alone",
        )
    if isinstance(problem, OSError):
        return Outcome(
            state="failed",
            code="scratch_full" if problem.errno == ENOSPC else "directory_not_accessible",
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
