"""Following one job to its end, with live progress on a terminal and plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from qmrunner import views
from qmrunner.app import App
from qmrunner.cli.common import console, duration, elapsed, print_json, progress_text
from qmrunner.errors import ExitCode
from qmrunner.model.states import JOB_FINAL, JobState
from qmrunner.store.session import StoreUnavailable

_LOOK_EVERY_S = 0.3
_END = {JobState.SUCCEEDED: ExitCode.OK, JobState.HELD: ExitCode.NOT_READY}


def follow(app: App, job_id: str, as_json: bool) -> int:
    """Show the job until it ends or is held, then its result or its failure. Returns the exit status."""
    out = console()
    if as_json:
        job = _wait(app, job_id, lambda job: None)
    elif out.is_terminal:
        job = _with_bar(app, job_id)
    else:
        print(f"job {job_id}")
        job = _wait(app, job_id, _LinePrinter())
    status = int(_END.get(JobState(job["state"]), ExitCode.FAILED))
    if status == ExitCode.OK:
        result = views.result_view(app, job_id)
        if as_json:
            print_json(result)
        else:
            from qmrunner.cli.results import show_result

            show_result(out, result)
    else:
        why = views.why_view(app, job_id)
        if as_json:
            print_json(why)
        else:
            from qmrunner.cli.results import show_why

            show_why(out, why)
    return status


def _wait(app: App, job_id: str, show: Any) -> dict[str, Any]:
    while True:
        try:
            job: dict[str, Any] = views.job_view(app, job_id)["job"]
        except StoreUnavailable:
            time.sleep(_LOOK_EVERY_S)  # the daemon waits for the store too
            continue
        show(job)
        if job["state"] in JOB_FINAL or job["state"] == JobState.HELD:
            return job
        time.sleep(_LOOK_EVERY_S)


def running_text(job: dict[str, Any]) -> str:
    """What the running steps are doing, on one line."""
    live = [step for step in job["steps"] if step["state"] in ("claimed", "running")]
    return " | ".join(f"{step['id']}: {progress_text(step['progress']) or step['state']}" for step in live)


class _LinePrinter:
    """A line each time a step begins, ends or gets to another iteration."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[Any, ...]] = {}

    def __call__(self, job: dict[str, Any]) -> None:
        for step in job["steps"]:
            progress = step["progress"]
            mark = (step["state"], step["attempt"], progress.get("phase"), progress.get("iteration"))
            if step["state"] in ("waiting", "ready", "skipped") or self._shown.get(step["id"]) == mark:
                continue
            self._shown[step["id"]] = mark
            since = duration(elapsed(job["started_at"], None))
            print(f"[{since:>12}] {step['id']:<14} {step['state']:<10} {progress_text(progress)}".rstrip(), flush=True)


def _with_bar(app: App, job_id: str) -> dict[str, Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", markup=False),
        transient=True,
        refresh_per_second=4,
    ) as bar:
        task = bar.add_task(job_id, total=1.0, doing="queued")

        def show(job: dict[str, Any]) -> None:
            overall = job["progress"]
            doing = running_text(job) or overall.get("text", job["state"])
            bar.update(task, completed=overall.get("fraction") or 0.0, doing=doing)

        return _wait(app, job_id, show)
