"""cancel, retry, hold, release; pause, resume, drain, sweep: the commands of operators."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from qmrunner.cli.common import AsJson, JobId, job_named, open_app, print_json, say
from qmrunner.model import visible


def register(cli: typer.Typer) -> None:
    for command in (cancel, retry, hold, release, pause, resume, drain, sweep):
        cli.command()(command)


def cancel(job: JobId, as_json: AsJson = False) -> None:
    """Cancel a job. Waiting steps are cancelled at once; running engines get SIGTERM and, if they have not ended after
    the grace period, SIGKILL."""
    _move(job, as_json, "cancel")


def retry(
    job: JobId,
    allow_altering: Annotated[
        bool,
        typer.Option(
            "--allow-altering", help="Also allow automatic changes that alter the result; each one is recorded."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the unsuccessful steps of a failed or cancelled job again; finished steps are kept."""
    _move(job, as_json, "retry", **({"allow_altering": True} if allow_altering else {}))


def hold(job: JobId, as_json: AsJson = False) -> None:
    """Start no more steps of a job; running steps finish."""
    _move(job, as_json, "hold")


def release(job: JobId, as_json: AsJson = False) -> None:
    """Release a held job, so that its steps start again."""
    _move(job, as_json, "release")


def _move(job_id: str, as_json: bool, verb: str, **more: bool) -> None:
    from qmrunner.store import operator_actions

    verbs: dict[str, Callable[..., Any]] = {
        "cancel": operator_actions.cancel,
        "retry": operator_actions.retry,
        "hold": operator_actions.hold,
        "release": operator_actions.release,
    }
    app = open_app(busy_seconds=30.0)
    named = job_named(app, job_id)
    with app.store.write() as connection:
        job = verbs[verb](connection, app.store.now(), named, **more)
    app.queue.notify()
    if as_json:
        print_json({"id": job.id, "state": job.state, "cancel_requested": job.cancel_requested})
    elif verb == "cancel" and job.state != "cancelled":
        say(f"{job.id}: cancellation requested; its running steps are being stopped")
    else:
        say(f"{job.id}: {job.state}")


def pause() -> None:
    """Let no worker of this store (the database of jobs) start a new step. Running engines keep running."""
    _switch(paused=True)
    say("paused; `qmrunner resume` ends the pause")


def resume() -> None:
    """Let workers start steps again: end `pause` for all workers, and `drain` for the worker of this home.

    Held jobs stay held (see `release`)."""
    from qmrunner.store import workers

    _switch(paused=False)
    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        workers.set_drain(connection, app.store.now(), app.home_id(), draining=False)
    app.queue.notify()
    say("resumed")


def drain() -> None:
    """Let the worker of this home finish its running steps and start no others. The daemon keeps running; `resume` ends
    the drain. Other workers are not affected."""
    from qmrunner.errors import NotReadyError
    from qmrunner.store import workers

    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        changed = workers.set_drain(connection, app.store.now(), app.home_id(), draining=True)
    if not changed:
        raise NotReadyError("no_worker", "no active worker runs on this home", remedy="`qmrunner status` lists workers")
    say("draining; `qmrunner status` shows the running steps, `qmrunner resume` ends the drain")


def _switch(*, paused: bool) -> None:
    from qmrunner.store import workers

    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        workers.set_paused(connection, app.store.now(), paused)


def sweep(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what ended attempts left: processes, scratch, shared memory, and files past their retention."""
    from qmrunner import maintenance
    from qmrunner.maintenance.base import Context

    context = Context(open_app(busy_seconds=30.0), time.time())
    plan = maintenance.plan_all(context)
    done = [(action, None) for action in plan] if dry_run else maintenance.apply_all(context, plan)
    if as_json:
        print_json([{**action.as_dict(), "done": not dry_run, "problem": problem} for action, problem in done])
        return
    for action, problem in done:
        ended = f" -- not done: {problem}" if problem else ""
        say(visible.line(f"{action.verb} {action.target}: {action.reason}{ended}"))
    say(f"{len(done)} action(s) {'to do' if dry_run else 'done'}")
