"""cancel, retry, hold, release: the moves that people make."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import typer

from qmrunner.cli.common import AsJson, JobId, open_app, print_json


def register(cli: typer.Typer) -> None:
    for command in (cancel, retry, hold, release):
        cli.command()(command)


def cancel(job: JobId, as_json: AsJson = False) -> None:
    """End a job: waiting steps at once, running engines by TERM and, after a grace, KILL."""
    _move(job, as_json, "cancel")


def retry(job: JobId, as_json: AsJson = False) -> None:
    """Run the unsuccessful steps of a failed or cancelled job again; finished steps are kept."""
    _move(job, as_json, "retry")


def hold(job: JobId, as_json: AsJson = False) -> None:
    """Start no more steps of a job; running ones go on to their end."""
    _move(job, as_json, "hold")


def release(job: JobId, as_json: AsJson = False) -> None:
    """Let a held job go on."""
    _move(job, as_json, "release")


def _move(job_id: str, as_json: bool, verb: str) -> None:
    from qmrunner.store import jobs

    verbs: dict[str, Callable[..., Any]] = {
        "cancel": jobs.cancel,
        "retry": jobs.retry,
        "hold": jobs.hold,
        "release": jobs.release,
    }
    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        job = verbs[verb](connection, time.time(), job_id)
    app.queue.ring()
    if as_json:
        print_json({"id": job.id, "state": job.state, "cancel_requested": job.cancel_requested})
    elif verb == "cancel" and job.state != "cancelled":
        print(f"{job.id}: cancellation requested; its running steps are being stopped")
    else:
        print(f"{job.id}: {job.state}")
