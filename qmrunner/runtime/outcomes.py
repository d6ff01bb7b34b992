"""After an engine has ended, or could not start: what its attempt came to. Nothing here touches the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmrunner.engines.base import Engine
from qmrunner.engines.confine import Finding
from qmrunner.errors import QmrunnerError
from qmrunner.logs import get as get_logger
from qmrunner.model.jobs import Evidence, Exit, Outcome
from qmrunner.runtime import denials, hangs
from qmrunner.runtime.attempt import Live

_LARGEST_INPUT_BYTES = 64 << 20


def read_exit(record: dict[str, Any]) -> Exit:
    """From a guardian's exit record."""
    known: dict[str, Any] = {name: record.get(name) for name in Exit.__slots__ if name in record}
    return Exit(**known)


def outcome_of(live: Live, engine: Engine, exit: Exit) -> Outcome:
    """What the engine makes of its directory; a fault in our own reading is an outcome too, never a crash."""
    try:
        outcome = engine.interpret(live.step, live.folder.work, live.log, exit)
        if outcome.state == "failed" and exit.stop_reason is None:
            outcome = denials.explain(outcome, live.log, live.folder.policy(), _refused(live, engine))
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
        return hangs.outcome(live, outcome)
    if outcome.state == "failed" and exit.stop_reason is not None:
        return Outcome(state="stopped", code="stopped", evidence=outcome.evidence)
    return outcome


def _refused(live: Live, engine: Engine) -> Sequence[Finding]:
    """What the check says of the files with which the attempt ran, as far as they are still there."""
    files = {}
    for name in live.step.inputs:
        path = live.folder.work / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST_INPUT_BYTES:
            files[name] = path.read_bytes()
    return engine.findings(live.step, files, strict=False) if len(files) == len(live.step.inputs) else ()


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
    if isinstance(problem, OSError):
        return Outcome(
            state="failed",
            code="scratch_full" if problem.errno == 28 else "directory_not_accessible",
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
