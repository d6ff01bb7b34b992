"""One calculation of the application, one kill in it, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from qmrunner.guardian import process_tree
from tests.apps.unmodified import looks
from tests.apps.unmodified.application import Application, Calculation
from tests.support import Home

T = TypeVar("T")
# Who is killed, and whether the running body must survive it.
KINDS = {
    "none": True,
    "task": False,
    "guardian": False,
    "consumer": True,
    "apphost": True,
    "supervisor": True,
    "tree": False,
    "tree-without-engines": False,
    "container": False,
    "stop": False,
}
_NAMES = {"task": "qm-task", "guardian": "qm-guardian", "consumer": "qm-consumer", "apphost": "qm-apphost"}
_RESTARTED = ("supervisor", "tree", "tree-without-engines", "container", "stop")
_SURVIVORS_S = 5.0


class Worker:
    """`qmrunner run -- ` in front of the application's own command, with the settings a newcomer has: none."""

    def __init__(self, app: Application, *, container: bool) -> None:
        self._app = app
        self._container = container
        self.home = Home(app.folder / "home", {})
        self.home.extra = {}
        self.output = app.folder / "stdout"
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        return {**self._app.environment, "QMRUNNER_HOME": str(self.home.path)}

    def start(self) -> None:
        command = [sys.executable, "-m", "qmrunner", "run", "--", *self._app.command]
        if self._container:  # a namespace that ends with its first process, as a container does
            shell = f"{' '.join(command)}; exit $?"
            command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", shell]
        with open(self.output, "ab") as sink:
            self.process = subprocess.Popen(
                command,
                cwd=self._app.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def starts(self) -> int:
        """How many times a daemon has reported on stdout that it runs."""
        return self.output.read_text(errors="replace").count('"daemon_started"')

    def processes(self) -> dict[int, str]:
        """Pids and names of this home's processes."""
        found = {}
        for pid in self.home.processes():
            stat = process_tree.stat_of(pid)
            if stat is not None and stat.state not in "ZX":
                found[pid] = stat.comm
        return found

    def kill(self, kind: str) -> bool:
        """Whether there was anything to kill."""
        assert self.process is not None
        processes = self.processes()
        if kind == "stop":
            self.process.terminate()
            return True
        if kind == "supervisor":
            pids = [self.process.pid]
        elif kind == "container":
            pids = [pid for pid, name in processes.items() if name == "sh" and _parent(pid) == self.process.pid]
        elif kind.startswith("tree"):
            pids = list(processes)
            if kind == "tree":
                pids += [pid for pid, _ in looks.engines(self._app.folder)]
        else:
            pids = [pid for pid, name in processes.items() if name == _NAMES[kind]]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def end(self) -> None:
        """Nothing of this worker outlives the trial."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(10)

    def status(self, *job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.home.json("status", *job)
        return found


@dataclass
class Report:
    """One line of the results; `wrong` is empty when all is right.

    For each kill: seconds since the first engine of this body, seconds until the old engines were gone, and until the
    next engine; after `tree-without-engines` they count from the report of the next daemon that it runs. `took_s` from
    the start of the worker to the end of the job.
    """

    kind: str
    calculation: str
    wrong: list[str] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    again_s: list[float] = field(default_factory=list)
    took_s: float | None = None
    attempts: int | None = None
    engines: int | None = None
    looks: int = 0
    begun: float = 0.0  # monotonic: the first engine of this body


def trial(
    app: Application,
    calculation: Calculation,
    kind: str,
    kills: int,
    reference: Reference,
    chance: random.Random,
    deadline_s: float,
) -> Report:
    """At most `deadline_s` from the last kill to the end of the job. A kill whose moment falls between two engines, or
    behind the last one, does not happen."""
    report = Report(kind, calculation.name)
    worker = Worker(app, container=kind == "container")
    began = time.monotonic()
    try:
        worker.start()
        job, huey_id = app.enqueue(calculation)
        with looks.Looks(app.folder) as seen:
            _wait(lambda: seen.started, 120, "an engine")
            for _ in range(kills):
                _disturb(app, worker, kind, job, seen, reference, report, chance)
            _wait(lambda: (app.status(job) or {}).get("status") in ("complete", "failed"), deadline_s, "its end")
            _wait(lambda: worker.status(huey_id)["job"]["state"] in ("succeeded", "failed"), 30, "the end of the job")
        report.took_s = round(time.monotonic() - began, 1)
        report.looks, report.engines = seen.count, len(seen.started)
        _judge(app, worker, calculation, kind, (job, huey_id), seen, reference, report)
    except TimeoutError as problem:
        report.wrong.append(str(problem))
    finally:
        worker.end()
    left = looks.engines(app.folder), worker.processes()
    if any(left):
        report.wrong.append(f"processes left after the stop: {left}")
        worker.home.end_processes()
    return report


@dataclass(frozen=True)
class Reference:
    """The undisturbed run: its shifts, and seconds from its first engine to its end."""

    shifts: list[tuple[str, int, float]]
    engine_s: float


def _disturb(
    app: Application,
    worker: Worker,
    kind: str,
    job: str,
    seen: looks.Looks,
    reference: Reference,
    report: Report,
    chance: random.Random,
) -> None:
    parts = 3 if KINDS[kind] else 1  # a body that survives has room for more than one
    time.sleep(chance.uniform(0.0, 0.9) * reference.engine_s / parts)
    if not seen.now or "qm-task" not in worker.processes().values():
        return
    shown = worker.status()["jobs"][0]
    if (shown["state"], shown["name"]) != ("running", f"qm_nmr_calc.tasks.{_task(app, job)}"):
        report.wrong.append(f"status shows {shown['state']} {shown['name']}")
    old, known = seen.now, set(seen.started)
    killed = time.monotonic()
    if not old or not worker.kill(kind):
        return
    report.at_s.append(round(killed - max(min(seen.started.values()), report.begun), 1))
    if kind in _RESTARTED:
        assert worker.process is not None
        status = worker.process.wait(60)
        if kind == "stop" and (status != 0 or looks.alive(old)):
            report.wrong.append(f"the stop ended with {status} and left {looks.alive(old)}")
        if kind == "stop" and (app.status(job) or {}).get("status") != "running":
            report.wrong.append("the stop changed what the application shows")
        starts = worker.starts()
        worker.start()
        if kind == "tree-without-engines":  # nothing is left that could end them before
            _wait(lambda: worker.starts() > starts, 120, "the next worker")
            killed = time.monotonic()
    if KINDS[kind]:
        return
    _wait(lambda: not looks.alive(old), 60, "the end of the old engines")
    gone_s = round(time.monotonic() - killed, 2)
    report.gone_s.append(gone_s)
    if gone_s > _SURVIVORS_S and kind != "stop":
        report.wrong.append(f"old engines were alive after {gone_s} s: {old}")
    _wait(lambda: set(seen.started) - known, 120, "the next engine")
    report.begun = min(seen.started[one] for one in set(seen.started) - known)
    report.again_s.append(round(report.begun - killed, 2))


def _judge(
    app: Application,
    worker: Worker,
    calculation: Calculation,
    kind: str,
    ids: tuple[str, str],
    seen: looks.Looks,
    reference: Reference,
    report: Report,
) -> None:
    job, huey_id = ids
    wrong = report.wrong
    shown = app.status(job)
    if shown is None or shown["status"] != "complete":
        wrong.append(f"status.json: {'torn' if shown is None else (shown['status'], shown.get('error_message'))}")
    if app.shifts(job) != reference.shifts:
        wrong.append(f"shifts differ: {app.shifts(job)}")
    if max(seen.most, seen.mixed) > 1:
        wrong.append(f"{seen.most} engine trees of {seen.mixed} attempts at once")
    found = worker.status(huey_id)["job"]
    report.attempts = found["steps"][0]["attempt"]
    if found["state"] != "succeeded":
        wrong.append(f"the job is {found['state']} ({found['code']})")
    bodies = 1 if KINDS[kind] else 1 + len(report.at_s)
    if report.attempts != bodies:
        wrong.append(f"{report.attempts} attempts instead of {bodies}")
    if bodies == 1 and len(seen.started) != calculation.engines:
        wrong.append(f"{len(seen.started)} engines instead of {calculation.engines}")
    _wait(lambda: not app.left(), 15, f"an empty queue: {app.left()}")
    text = worker.output.read_text(errors="replace")
    for output in app.outputs(job):
        own = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
        prefix = f"{found['id']}/task:{output.name}| "
        if prefix + own[-1] not in text or prefix + own[0] not in text:
            wrong.append(f"{output.name} is not on stdout")


def _task(app: Application, job: str) -> str:
    mode = ((app.status(job) or {}).get("input") or {}).get("conformer_mode")
    return "run_ensemble_nmr_task" if mode == "ensemble" else "run_nmr_task"


def _parent(pid: int) -> int | None:
    stat = process_tree.stat_of(pid)
    return None if stat is None else stat.ppid


def _wait(condition: Callable[[], T], deadline_s: float, what: str) -> T:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {deadline_s:g} s")
        time.sleep(0.05)
    return value
