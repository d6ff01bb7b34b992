"""run, health."""

from __future__ import annotations

import gc
import os
import shlex
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from qmrunner.cli.common import LONG_RUNNING, AsJson, print_json, say
from qmrunner.errors import ExitCode
from qmrunner.masking import mask_all
from qmrunner.model import visible


def register(cli: typer.Typer) -> None:
    cli.command()(run)
    cli.command()(health)


def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Command of a Huey application's consumer: its tasks run under this daemon.",
            show_default=False,
        ),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option(help="Exit with status 0 when no step runs, waits for a retry, or could start here.")
    ] = False,
    walltime: Annotated[
        str | None,
        typer.Option(
            help="Stop before this time has passed: 90m, 4h or HH:MM:SS. A step that would take longer than the time"
            " left starts only if it can resume later."
        ),
    ] = None,
    left_status: Annotated[
        int,
        typer.Option(
            min=0, max=255, metavar="N", help="Exit status if the daemon is stopped while steps are left, e.g. 99."
        ),
    ] = 0,
    temporary_home: Annotated[
        bool,
        typer.Option(
            help="Remove QMRUNNER_HOME at the end, and homes beside it whose daemon with this option was killed."
        ),
    ] = False,
) -> None:
    """Run the daemon in the foreground: the main process of a worker container. Ends on SIGTERM."""
    from qmrunner import app, settings
    from qmrunner.doctor import checks
    from qmrunner.errors import UsageError
    from qmrunner.model.walltime import parse
    from qmrunner.supervisor.batch_job import BatchJob
    from qmrunner.supervisor.process import Supervisor
    from qmrunner.worker.lifetime import Lifetime

    if command:
        os.environ["QMRUNNER_APP"] = shlex.join(command)  # the daemon's processes read it, too
    try:
        seconds = None if walltime is None else parse(walltime)
        found = settings.load()
        lifetime = Lifetime.lasting(until_idle, seconds, found.stop_grace_seconds)
    except ValueError as wrong:
        remedy = "request more time from the scheduler, or use its format for --walltime"
        raise UsageError("walltime_invalid", f"--walltime: {wrong}", remedy=remedy) from None
    batch_job = BatchJob(temporary_home, left_status)
    batch_job.check(found)
    built, began = app.build(), time.monotonic()
    _ = built.settings.apps  # raises for a file that cannot be used, as the settings do
    findings = checks.startup(built.settings)
    events = checks.events(findings, time.monotonic() - began)
    problem = checks.refusal(findings)
    if problem is not None:
        for level, event, fields in events:  # the events file may not be writable
            now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            say(visible.dumps({"time": now, "level": level, "event": event, **mask_all(fields)}))
        raise problem
    gc.set_threshold(*LONG_RUNNING)
    raise typer.Exit(Supervisor(built, events, lifetime, batch_job).run())


def health(as_json: AsJson = False) -> None:
    """Check that the daemon of this home works. The exit status is 0 if it does, else 4 with the reason."""
    from qmrunner import settings
    from qmrunner.supervisor.health import examine

    report = examine(settings.load())
    if as_json:
        print_json(report)
    else:
        say("healthy" if report["healthy"] else f"unhealthy: {report['reason']}")
    raise typer.Exit(ExitCode.OK if report["healthy"] else ExitCode.NOT_READY)
