"""A task of a Huey application, as a step. Its process is forked from the application's host (`apps/side/task.py`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.engines.base import Context, Installed, Which
from qmrunner.engines.input_check import Finding
from qmrunner.model.app_tasks import REPORTED, TELL, demand_of
from qmrunner.model.app_tasks import TASK as STAGE
from qmrunner.model.jobs import Command, Demand, Evidence, Exit, Outcome, Progress, Step
from qmrunner.model.remedies import Remedy

# Files of the attempt's folder: `apps/side/done.py`, which no process of ours imports with the application's Huey.
TASK, CANCELLED, OUTCOME, DONE, COMMITTED = "task.json", "cancelled", "outcome", "done.json", "committed"
CONCLUDE, STOPPED = "conclude", "stopped"
HARD_TIMEOUT = "hard_timeout"  # why a task is stopped that runs for too long
_TEMPORARY = "tmp"
# How a task ended without an exception, in Huey's words.
_ENDED_WELL = {
    "complete": "the task ended",
    "scheduled": "put back into Huey's schedule: its time has not come",
    "revoked": "revoked: Huey did not run it",
    "expired": "expired: Huey did not run it",
    "dropped": "dropped: a periodic task whose run was lost more than an hour ago",
}


class HueyTask:
    """The engine of kind `huey`."""

    name = "huey"

    def locate(self, configured: Mapping[str, str | None], which: Which) -> Installed:
        return Installed(self.name, None)

    def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
        return ()

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        return found

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        return demand_of(params.get("words") or {})

    def prepare(self, step: Step, context: Context) -> Command:
        attempts, number = context.directory.parent.parent, int(context.directory.parent.name)
        reporting = step.task == TELL
        # Where the earlier attempts of the task were, and their markers.
        job_id = str(step.params.get("of", step.job_id))
        name = str(step.params.get("reported", STAGE)) if reporting else step.name
        earlier = {
            "folder": str(attempts.parents[1] / job_id / name / "{number}" / context.directory.name),
            "marker": f"{job_id}/{name}/{{number}}",
            "attempts": int(step.params["attempts"]) if reporting else number - 1,
        }
        asked = {
            "message": step.params["message"],
            "step": f"{step.job_id}/{step.name}",
            "earlier": earlier,
            "previous": None if context.previous is None else str(context.previous),
            "died": str(step.params["why"]) if reporting else None,
            "fence": bool(step.params.get("fence")),
            "as": str(step.params.get("as", "died")),
            "rerun": (step.params.get("words") or {}).get("rerun", "always"),
        }
        words = step.params.get("words") or {}
        # What is left behind outlives the attempt's folder.
        inherits = step.params.get("tmpdir") == "inherit" or bool(words.get("detach"))
        return Command(
            argv=(str(step.params["task"] or "unreadable message"),),
            env={} if inherits else {"TMPDIR": str(context.directory / _TEMPORARY)},
            files={TASK: json.dumps(asked)},
            app_cwd=str(step.params["cwd"]),
            detach=bool(words.get("detach")) and not reporting,
        )

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[Finding]:
        return ()

    def environment(self, context: Context) -> Mapping[str, str]:
        return {}

    def reader(self, step: Step, directory: Path | None = None) -> _Silent:
        return _Silent()

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        there = untrusted.is_there(directory / OUTCOME) and not untrusted.is_there(directory / COMMITTED)
        return (OUTCOME,) if there else ()

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        try:
            end = untrusted.read_json(directory / DONE)
        except FileNotFoundError:
            if exit.stop_reason == HARD_TIMEOUT and not self.checkpoint(directory):
                return _too_long(step)
            return _died(exit, ended=bool(self.checkpoint(directory)))
        state, error = str(end["state"]), end["error"] or {}
        evidence = Evidence(str(error["text"]), error.get("file"), error.get("line")) if error else None
        result = {"state": state, "error": error.get("text"), "sent": len(end["outbox"]) + len(end["deletes"])}
        if step.task == TELL:
            return Outcome("succeeded", "ok", result=result, summary="the application has the report", reported=True)
        if state in _ENDED_WELL:
            return Outcome("succeeded", "ok", result=result, summary=_ENDED_WELL[state], reported=True)
        return Outcome(
            "failed",
            REPORTED.get(state, "task_error"),
            result=result,
            failure_class="permanent",
            evidence=evidence,
            remedy=_remedy(step, state),
            summary=evidence.text if evidence else f"the task ended as {state}",
            reported=True,
        )

    def remedies(self, task: str) -> Sequence[Remedy]:
        return ()


class _Silent:
    def feed(self, line: str) -> Progress | None:
        return None


def _remedy(step: Step, state: str) -> str:
    if state == "retrying":
        return "none needed: Huey has put the task back, and its next try will be a step of this job"
    if state == "lost_not_rerun":
        return "the task may have run in part, and it may not run twice: check what it did, then enqueue it again"
    return f"the application has the report; `qmrunner logs {step.job_id}` has the traceback"


def _too_long(step: Step) -> Outcome:
    return Outcome(
        "failed",
        "timed_out",
        failure_class="permanent",
        summary=f"the task ran longer than its hard_timeout_s of {step.params['words']['hard_timeout_s']:g} s",
        remedy="raise hard_timeout_s in apps.toml or in the task's options, or find out why it takes so long",
    )


def _died(exit: Exit, *, ended: bool) -> Outcome:
    """The outcome of a task whose process ended before it reported to the application."""
    if exit.stop_reason is not None:
        return Outcome("stopped", "stopped")
    how = f"signal {exit.signal}" if exit.signal is not None else f"exit status {exit.returncode}"
    where = "after its body had ended" if ended else "in its body"
    return Outcome(
        "failed",
        "killed" if exit.signal is not None else "task_died",
        failure_class="transient",
        evidence=Evidence(how),
        summary=f"the task's process died {where} ({how})",
        remedy="see the log; a task that exits its process or exhausts the memory cannot report an error to Huey",
    )
