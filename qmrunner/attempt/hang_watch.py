"""The hang watch of one attempt: feeds the judge of `model.stillness`, keeps its memory, acts on its verdict.

Beside the log it leaves `<step>.<attempt>.hang.txt`, whose first line is the evidence. `pace.json` in the attempt
directory holds how long iterations took, for a restarted consumer and for later attempts.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner import untrusted
from qmrunner.attempt.hang_report import write_report
from qmrunner.host.files import write_atomically
from qmrunner.logs import get as get_logger
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
from qmrunner.model.jobs import Evidence, Outcome
from qmrunner.settings import Settings

if TYPE_CHECKING:
    from qmrunner.attempt.active import Live

PACE = "pace.json"
_PACE_EVERY_S = 10.0
_FIRST_LINE = "hung: "


class HangWatch:
    """One per attempt and consumer."""

    def __init__(self, live: Live, settings: Settings, grace_s: float) -> None:
        self._live = live
        self.grace_s = grace_s
        self._on = settings.hang_watch == "on"
        past, survived = _past(live)
        bounds = Bounds(settings.hang_floor_seconds, settings.hang_quiet_seconds, settings.hang_busy_seconds)
        self._judge = HangDetector(bounds, past, survived)
        self._saved: dict[str, Any] = {}
        self._next_save = 0.0

    def look(self, seen: Observation) -> None:
        """Judge a look of the guardian, once; what follows from it is done when this returns."""
        if not self._on or self._live.stop_request is not None:
            return
        verdict = self._judge.observe(seen)
        self._save_pace()
        self._tell(verdict)
        if verdict.state == "hung":
            self._end(verdict)

    def _tell(self, verdict: Verdict) -> None:
        """Let people see a step that stands still before it is called hung."""
        kind = verdict.kind if verdict.state in ("still", "hung") else None
        if kind == self._live.progress.get("stillness"):
            return
        kept = {name: value for name, value in self._live.progress.items() if name != "stillness"}
        self._live.progress = kept if kind is None else {**kept, "stillness": kind}
        self._live.dirty = True

    def _end(self, verdict: Verdict) -> None:
        """Evidence first, then the end: the guardian sends TERM and CONT, and KILL after the grace."""
        live, path = self._live, report_path(self._live.log)
        said = sentence(verdict)
        identity = live.folder.guardian_identity()
        try:
            if identity is not None:
                write_report(path, _FIRST_LINE + said, identity.pid, lambda: live.stop_request is not None)
        except OSError as problem:
            get_logger().warning("hang_report_failed", job=live.job.id, step=live.step.name, error=str(problem))
        get_logger().warning(
            "step_hung",
            job=live.job.id,
            step=live.step.name,
            attempt=live.number,
            kind=verdict.kind,
            still_s=round(verdict.still_s, 1),
            bound_s=round(verdict.bound_s, 1),
            evidence=said,
            report=str(path),
        )
        if live.stop_request is None:
            live.stop("hung", self.grace_s)

    def _save_pace(self) -> None:
        """Seldom, and only what is new. Without it the next attempt starts with the settings alone."""
        now = time.monotonic()
        if now < self._next_save:
            return
        self._next_save = now + _PACE_EVERY_S
        paces = {phase: asdict(pace) for phase, pace in self._judge.paces().items()}
        memory = {"phases": paces, "survived_s": self._judge.survived_s}
        if memory == self._saved:
            return
        try:
            write_atomically(self._live.folder.path / PACE, json.dumps(memory))
        except OSError as problem:
            get_logger().warning("pace_not_saved", job=self._live.job.id, step=self._live.step.name, error=str(problem))
        self._saved = json.loads(json.dumps(memory))


def observation(message: dict[str, Any], **told: Any) -> Observation:
    """A look of the guardian, as its message tells it, together with what was `told` by the log."""
    usage = message["usage"]
    return Observation(
        at_s=message["at_s"],
        cpu_s=usage["cpu_s"],
        scratch_mib=usage["scratch_mib"],
        processes=tuple(ProcessSample(*one) for one in message["tree"]),
        **told,
    )


def _past(live: Live) -> tuple[dict[str, Pace], dict[str, float]]:
    """Paces by phase and survived silences of this attempt, if a consumer before this one left any, else of the
    newest earlier attempt that did."""
    for number in range(live.number, 0, -1):
        try:
            memory = untrusted.read_json(live.folder.path.parent / str(number) / PACE)
            phases = {phase: pace_from(value) for phase, value in memory["phases"].items()}
            survived = {str(kind): float(seconds) for kind, seconds in memory["survived_s"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        return {phase: pace for phase, pace in phases.items() if pace is not None}, survived
    return {}, {}


def report_path(log: Path) -> Path:
    return log.with_suffix(".hang.txt")


def outcome(live: Live, otherwise: Outcome) -> Outcome:
    """The outcome of an attempt that was ended as hung. Its evidence is the first line of the report, where there is
    one; `otherwise` is what the engine says."""
    path = report_path(live.log)
    try:
        said = next(untrusted.lines(path), "").strip().removeprefix(_FIRST_LINE)
    except OSError:
        said = ""
    return Outcome(
        state="failed",
        code="hung",
        failure_class="transient",
        evidence=Evidence(said, path.name, 1) if said else otherwise.evidence,
        remedy=remedy(said),
        summary=said or "no progress; ended",
    )
