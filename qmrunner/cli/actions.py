"""cancel, retry, hold, release; pause, resume, drain, sweep: the moves that people make."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from qmrunner.cli.common import AsJson, JobId, open_app, print_json, say
from qmrunner.model import visible


def register(cli: typer.Typer) -> None:
    for command in (cancel, retry, hold, release, pause, resume, drain, sweep):
        cli.command()(command)


def cancel(job: JobId, as_json: AsJson = False) -> None:
    """End a job: waiting steps at once, running engines by TERM and, after a grace, KILL."""
    _move(job, as_json, "cancel")


def retry(
    job: JobId,
    allow_altering: Annotated[
        bool, typer.Option("--allow-altering", help="Remedies of this job may alter the answer; each is on record.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the unsuccessful steps of a failed or cancelled job again; finished steps are kept."""
    _move(job, as_json, "retry", **({"allow_altering": True} if allow_altering else {}))


def hold(job: JobId, as_json: AsJson = False) -> None:
    """Start no more steps of a job; running ones go on to their end."""
    _move(job, as_json, "hold")


def release(job: JobId, as_json: AsJson = False) -> None:
    """Let a held job go on."""
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
    with app.store.write() as connection:
        job = verbs[verb](connection, app.store.now(), job_id, **more)
    app.queue.notify()
    if as_json:
        print_json({"id": job.id, "state": job.state, "cancel_requested": job.cancel_requested})
    elif verb == "cancel" and job.state != "cancelled":
        say(f"{job.id}: cancellation requested; its running steps are being stopped")
    else:
        say(f"{job.id}: {job.state}")


def pause() -> None:
    """Let no worker of this store start anything new. Running engines go on."""
    _switch(paused=True)
    say("paused; `qmrunner resume` lifts it")


def resume() -> None:
    """Lift a pause of the store and a drain of this home's worker."""
    from qmrunner.store import workers

    _switch(paused=False)
    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        workers.set_drain(connection, app.store.now(), app.home_id(), draining=False)
    app.queue.notify()
    say("resumed")


def drain() -> None:
    """Let this home's worker finish what it runs and claim nothing more; other workers go on."""
    from qmrunner.errors import NotReadyError
    from qmrunner.store import workers

    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        changed = workers.set_drain(connection, app.store.now(), app.home_id(), draining=True)
    if not changed:
        raise NotReadyError("no_worker", "no active worker runs on this home", remedy="`qmrunner status` lists workers")
    say("draining; `qmrunner status` shows what still runs, `qmrunner resume` lifts it")


def _switch(*, paused: bool) -> None:
    from qmrunner.store import workers

    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        workers.set_paused(connection, app.store.now(), paused)


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove leftovers: processes, scratch, shared memory and old files of attempts that are over."""
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
    say(f"{len(done)} thing(s) {'to do' if dry_run else 'done'}")
