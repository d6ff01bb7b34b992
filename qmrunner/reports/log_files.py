"""Paths of the logs of a job's attempts on this machine, for `qmrunner logs`."""

from __future__ import annotations

from pathlib import Path

from qmrunner.app import App
from qmrunner.errors import NotFoundError
from qmrunner.model import visible
from qmrunner.reports.status import load


def log_files(app: App, job_id: str, step: str | None) -> list[Path]:
    """The raw logs of a job's attempts in order. Raises NotFoundError for an unknown job or step."""
    from qmrunner.reports import files as reports_files

    _, steps, tries, _ = load(app, job_id)
    names = {known_step.id: known_step.name for known_step in steps}
    if step is not None and step not in names.values():
        raise NotFoundError(
            "step_unknown", f"job {job_id} has no step {step!r}", remedy=f"its steps are {', '.join(names.values())}"
        )
    known = {known_step.id: known_step for known_step in steps}
    wanted = [attempt for attempt in tries if step in (None, names[attempt.step_id])]
    found = (reports_files.log(app, known[attempt.step_id], attempt) for attempt in wanted)
    return [path for path in found if path is not None]


def redirected_files(app: App, job_id: str, step: str | None, name: str) -> list[Path]:
    """The copies of a file to which a task's programs redirected their output, in the order of the attempts.

    Raises NotFoundError for an unknown job, step or file.
    """
    from qmrunner.attempt.redirected import COPY

    copies = [copy for log in log_files(app, job_id, step) for copy in sorted(log.parent.glob(f"{log.stem}{COPY}*"))]
    found = [copy for copy in copies if copy.name.partition(COPY)[2] == name]
    if not found:
        known = sorted({copy.name.partition(COPY)[2] for copy in copies})
        raise NotFoundError(
            "file_unknown",
            f"job {job_id} has no redirected output {visible.line(name)[:100]!r}",
            remedy=f"known are {', '.join(known)}" if known else "only files that ran for some seconds are copied",
        )
    return found
