"""Follow one job to its end, with a live display on a terminal and plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qmrunner.app import App
from qmrunner.cli.common import (
    coloured,
    console,
    duration,
    elapsed,
    outlook_text,
    print_json,
    progress_text,
    say,
    step_text,
    styled,
    working_step,
)
from qmrunner.errors import ExitCode
from qmrunner.host.home import holder_of
from qmrunner.model import visible
from qmrunner.model.states import JOB_FINAL, STEP_LIVE, JobState
from qmrunner.reports import status as reports_status
from qmrunner.reports import why
from qmrunner.store.session import StoreUnavailable

if TYPE_CHECKING:
    from rich.console import Console, Group

_POLL_EVERY_S = 0.3
_CHECK_DAEMON_EVERY_S = 2.0
# Least and most seconds between two progress lines on a pipe: from quick jobs to jobs of days.
_LINE_EVERY_S = (2.0, 60.0)
_LINES_PER_JOB = 60
_END = {JobState.SUCCEEDED: ExitCode.OK, JobState.HELD: ExitCode.NOT_READY}


def follow(app: App, job_id: str, as_json: bool) -> int:
    """Show the job until it ends or is held, then its result or its failure. Returns the exit status."""
    out = console()
    if as_json:
        job = _wait(app, job_id, lambda job: None)
    elif out.is_terminal:
        job = _on_terminal(app, job_id, out)
    else:
        say(f"job {job_id}")
        log = ProgressLog(moving_lines=True)

        def print_lines(job: dict[str, Any]) -> None:
            for line in log.lines(job):
                say(line)

        job = _wait(app, job_id, print_lines)
    status = int(_END.get(JobState(job["state"]), ExitCode.FAILED))
    _show_end(app, job_id, out, as_json, status == ExitCode.OK)
    return status


def _show_end(app: App, job_id: str, out: Console, as_json: bool, succeeded: bool) -> None:
    from qmrunner.cli.render import show_result, show_why

    report = reports_status.result_view(app, job_id) if succeeded else why.view(app, job_id)
    if as_json:
        print_json(report)
        return
    out.print()
    show = show_result if succeeded else show_why
    show(out, report)


def _wait(app: App, job_id: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    daemon = _DaemonWatch(app)
    while True:
        try:
            job: dict[str, Any] = visible.fields(reports_status.job_view(app, job_id)["job"])
        except StoreUnavailable:
            time.sleep(_POLL_EVERY_S)  # the daemon waits for the store too
            continue
        show(job)
        if job["state"] in JOB_FINAL or job["state"] == JobState.HELD:
            return job
        daemon.check()
        time.sleep(_POLL_EVERY_S)


class _DaemonWatch:
    """Prints to stderr, once per absence, that no daemon runs on this home; a wait could be silent forever."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._next = 0.0
        self._absent = False

    def check(self) -> None:
        if not self._app.store.is_sqlite or time.monotonic() < self._next:
            return  # with a server, daemons of other machines may do the work
        self._next = time.monotonic() + _CHECK_DAEMON_EVERY_S
        absent = holder_of(self._app.settings.run_root) is None
        if absent and not self._absent:
            home = self._app.settings.home
            say(f"no daemon runs on {home}: the job is stored and waits; start `qmrunner run`", err=True)
        self._absent = absent


class ProgressLog:
    """Turns successive states of a job into lines: a step started, advanced, ended.

    With `moving_lines` it also reports progress inside a step, at growing intervals.
    """

    def __init__(self, *, moving_lines: bool) -> None:
        self._moving_lines = moving_lines
        self._seen: dict[str, tuple[str, int]] = {}
        self._step: dict[tuple[str, int], int] = {}
        self._last: dict[str, tuple[float, str]] = {}

    def lines(self, job: dict[str, Any]) -> list[str]:
        since = elapsed(job["started_at"], job["finished_at"]) or 0.0
        texts = [(step["id"], text) for step in job["steps"] for text in self._of(step, since)]
        return [f"[{duration(since):>12}] {name}: {text}" for name, text in texts]

    def doing(self, step: dict[str, Any]) -> str:
        """The current activity of a live step."""
        self._new_step(step)
        text = progress_text(step["progress"], self._step.get((step["id"], step["attempt"])))
        return text or ("preparing" if step["state"] == "claimed" else "running")

    def _of(self, step: dict[str, Any], since: float) -> list[str]:
        name, mark = step["id"], (step["state"], step["attempt"])
        further = self._new_step(step)
        if self._seen.get(name) != mark:
            self._seen[name] = mark
            change = _change(step)
            if change is not None:
                self._last[name] = (since, "")
                return [change]
        if step["state"] != "running":
            return []
        text, (last, last_text) = self.doing(step), self._last.get(name, (0.0, ""))
        every = min(max(_LINE_EVERY_S[0], since / _LINES_PER_JOB), _LINE_EVERY_S[1])
        due = self._moving_lines and since - last >= every and text != last_text
        if not (further or due) or not step["progress"]:
            return []
        self._last[name] = (since, text)
        return [text + outlook_text(step["progress"])]

    def _new_step(self, step: dict[str, Any]) -> bool:
        """Record the optimisation step of this attempt. True when it is a new one."""
        key, number = (step["id"], step["attempt"]), working_step(step["progress"])
        if number is None or step["state"] not in STEP_LIVE or self._step.get(key) == number:
            return False
        self._step[key] = number
        return True


def _change(step: dict[str, Any]) -> str | None:
    """The line for a step's new state; None where no line is needed."""
    state, attempt = step["state"], step["attempt"]
    if state == "running":
        again = f" again, attempt {attempt}" if attempt > 1 else ""
        return f"started{again} on {step['cores']} core{'s' if step['cores'] != 1 else ''}"
    if state == "succeeded":
        took = elapsed(step["started_at"], step["finished_at"]) if step["started_at"] else None
        return f"succeeded{f' in {duration(took)}' if took is not None else ''}  {step_text(step)}".rstrip()
    if state == "ready" and attempt:
        return f"attempt {attempt} ended ({step['code'] or 'stopped'}); it will be retried"
    if state in ("failed", "cancelled", "held"):
        return f"{state} ({step['code']})" if step["code"] else str(state)
    return None


def _on_terminal(app: App, job_id: str, out: Console) -> dict[str, Any]:
    """Print the lines of the job's progress; below them show a bar and the running steps."""
    from rich.live import Live
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[since]}  {task.fields[state]}"), console=out,
    )  # fmt: skip
    task = bar.add_task(f"job {job_id}", total=1.0, since="", state="queued")
    log = ProgressLog(moving_lines=False)
    with Live(bar, console=out, refresh_per_second=5, transient=True) as live:

        def show(job: dict[str, Any]) -> None:
            for line in log.lines(job):
                live.console.print(styled(line))
            since = elapsed(job["started_at"], job["finished_at"])
            bar.update(
                task,
                completed=job["progress"].get("fraction") or 0.0,
                since="" if since is None else duration(since),
                state=coloured(job["state"]).markup,
            )
            live.update(_live_lines(bar, log, job))

        return _wait(app, job_id, show)


def _live_lines(bar: Any, log: ProgressLog, job: dict[str, Any]) -> Group:
    from rich.console import Group

    steps = [step for step in job["steps"] if step["state"] in STEP_LIVE]
    lines = [f"  {step['id']}  {log.doing(step)}{outlook_text(step['progress'])}" for step in steps]
    texts = [styled(line) for line in lines]
    for text in texts:
        text.no_wrap, text.overflow = True, "ellipsis"
    return Group(bar, *texts)
