"""The hang watch of one attempt: passes samples to `model.hang_detection`, saves its state, acts on its verdict.

It writes `<step>.<attempt>.hang.txt` next to the log; the first line is the evidence. `pace.json` in the attempt
directory stores how long iterations took, for a restarted consumer and for later attempts.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner import untrusted
from qmrunner.attempt.hang_report import write_report
from qmrunner.host.atomic_write import write_atomically
from qmrunner.logs import get as get_logger
from qmrunner.model import app_tasks
from qmrunner.model.hang_detection import (
    Bounds,
    HangDetector,
    Observation,
    Pace,
    ProcessSample,
    Verdict,
    pace_from,
    remedy,
    sentence,
)
from qmrunner.model.jobs import Evidence, Outcome, Step
from qmrunner.settings import Settings

if TYPE_CHECKING:
    from qmrunner.attempt.active import ActiveAttempt

PACE = "pace.json"
_PACE_EVERY_S = 10.0
_FIRST_LINE = "hung: "


class HangWatch:
    """One per attempt and consumer."""

    def __init__(self, attempt: ActiveAttempt, settings: Settings, grace_s: float) -> None:
        self._attempt = attempt
        self.grace_s = grace_s
        bounds = _bounds(attempt.step, settings)
        self._on = settings.hang_watch == "on" and bounds is not None
        past, survived = _past(attempt)
        self._judge = HangDetector(bounds or Bounds(), past, survived)
        self._saved: dict[str, Any] = {}
        self._next_save = 0.0

    def observe(self, seen: Observation) -> None:
        """Judge one sample of the guardian, and act on the verdict before returning."""
        if not self._on or self._attempt.stop_request is not None:
            return
        verdict = self._judge.observe(seen)
        self._save_pace()
        self._show(verdict)
        if verdict.state == "hung":
            self._end(verdict)

    def _show(self, verdict: Verdict) -> None:
        """Show in the progress that a step is stalled before it is declared hung."""
        kind = verdict.kind if verdict.state in ("still", "hung") else None
        if kind == self._attempt.progress.get("stillness"):
            return
        kept = {name: value for name, value in self._attempt.progress.items() if name != "stillness"}
        self._attempt.progress = kept if kind is None else {**kept, "stillness": kind}
        self._attempt.dirty = True

    def _end(self, verdict: Verdict) -> None:
        """Evidence first, then the end: the guardian sends TERM and CONT, and KILL after the grace."""
        attempt, path = self._attempt, report_path(self._attempt.log)
        evidence = sentence(verdict)
        identity = attempt.directory.guardian_identity()
        try:
            if identity is not None:
                write_report(path, _FIRST_LINE + evidence, identity.pid, lambda: attempt.stop_request is not None)
        except OSError as problem:
            get_logger().warning("hang_report_failed", job=attempt.job.id, step=attempt.step.name, error=str(problem))
        get_logger().warning(
            "step_hung",
            job=attempt.job.id,
            step=attempt.step.name,
            attempt=attempt.number,
            kind=verdict.kind,
            still_s=round(verdict.still_s, 1),
            bound_s=round(verdict.bound_s, 1),
            evidence=evidence,
            report=str(path),
        )
        if attempt.stop_request is None:
            attempt.stop("hung", self.grace_s)

    def _save_pace(self) -> None:
        """Save the pace, rarely and only when it changed. Without it the next attempt uses the settings alone."""
        now = time.monotonic()
        if now < self._next_save:
            return
        self._next_save = now + _PACE_EVERY_S
        paces = {phase: asdict(pace) for phase, pace in self._judge.paces().items()}
        memory = {"phases": paces, "survived_s": self._judge.survived_s}
        if memory == self._saved:
            return
        try:
            write_atomically(self._attempt.directory.path / PACE, json.dumps(memory))
        except OSError as problem:
            get_logger().warning(
                "pace_not_saved", job=self._attempt.job.id, step=self._attempt.step.name, error=str(problem)
            )
        self._saved = json.loads(json.dumps(memory))


def _bounds(step: Step, settings: Settings) -> Bounds | None:
    """None: the step is not watched. A task of an application may wait for as long as it likes, unless its options say
    otherwise, and what its programs write to files of the application is no output here: CPU use is a sign of life."""
    if step.engine != app_tasks.ENGINE:
        return Bounds(settings.hang_floor_seconds, settings.hang_quiet_seconds, settings.hang_busy_seconds)
    quiet_s = (step.params.get("words") or {}).get("quiet_timeout_s")
    return None if quiet_s is None else Bounds(min(settings.hang_floor_seconds, quiet_s), quiet_s, inf, exact=True)


def observation(message: dict[str, Any], **from_log: Any) -> Observation:
    """One sample from a guardian's message, combined with the values read `from_log`."""
    usage = message["usage"]
    return Observation(
        at_s=message["at_s"],
        cpu_s=usage["cpu_s"],
        scratch_mib=usage["scratch_mib"],
        processes=tuple(ProcessSample(*process) for process in message["tree"]),
        **from_log,
    )


def _past(attempt: ActiveAttempt) -> tuple[dict[str, Pace], dict[str, float]]:
    """Paces by phase and survived silences: those an earlier consumer saved for this attempt, else those of the newest
    earlier attempt that has some."""
    for number in range(attempt.number, 0, -1):
        try:
            memory = untrusted.read_json(attempt.directory.path.parent / str(number) / PACE)
            phases = {phase: pace_from(value) for phase, value in memory["phases"].items()}
            survived = {str(kind): float(seconds) for kind, seconds in memory["survived_s"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        return {phase: pace for phase, pace in phases.items() if pace is not None}, survived
    return {}, {}


def report_path(log: Path) -> Path:
    return log.with_suffix(".hang.txt")


def outcome(attempt: ActiveAttempt, otherwise: Outcome) -> Outcome:
    """The outcome of an attempt that was ended as hung. Its evidence is the first line of the report, if there is one;
    else that of `otherwise`, the engine's own outcome."""
    path = report_path(attempt.log)
    try:
        evidence = next(untrusted.lines(path), "").strip().removeprefix(_FIRST_LINE)
    except OSError:
        evidence = ""
    return Outcome(
        state="failed",
        code="hung",
        failure_class="transient",
        evidence=Evidence(evidence, path.name, 1) if evidence else otherwise.evidence,
        remedy=remedy(evidence),
        summary=evidence or "no progress; ended",
    )
