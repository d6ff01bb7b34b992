"""cancel, retry, hold, release, priority; pause, resume, drain, sweep: the commands of operators."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from qmrunner.cli.common import AsJson, job_named, login_name, open_app, print_json, say
from qmrunner.cli.selection import DryRun, Where, Yes, move_all, resumed
from qmrunner.errors import UsageError
from qmrunner.model import visible

OptionalJobId = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Id of the job, or of its Huey task.")]


def register(cli: typer.Typer) -> None:
    for command in (cancel, retry, hold, release, priority, pause, resume, drain, sweep):
        cli.command()(command)


def cancel(
    job: OptionalJobId = None, where: Where = None, dry_run: DryRun = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Cancel a job, or all jobs of a query. Waiting steps are cancelled at once; running engines get SIGTERM and, if
    they have not ended after the grace period, SIGKILL."""
    _act("cancel", job, where, dry_run, yes, as_json)


def retry(
    job: OptionalJobId = None,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    allow_altering: Annotated[
        bool,
        typer.Option(
            "--allow-altering", help="Also allow automatic changes that alter the result; each one is recorded."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the unsuccessful steps of a failed or cancelled job, or of all jobs of a query, again; finished steps are
    kept."""
    _act("retry", job, where, dry_run, yes, as_json, **({"allow_altering": True} if allow_altering else {}))


def hold(
    job: OptionalJobId = None, where: Where = None, dry_run: DryRun = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Start no more steps of a job, or of all jobs of a query; running steps finish."""
    _act("hold", job, where, dry_run, yes, as_json)


def release(
    job: OptionalJobId = None, where: Where = None, dry_run: DryRun = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Release a held job, or all held jobs of a query, so that their steps start again."""
    _act("release", job, where, dry_run, yes, as_json)


def priority(
    job: OptionalJobId = None,
    *,
    to: Annotated[
        int, typer.Option("--to", min=-1000, max=1000, help="New priority; jobs with a higher one run first.")
    ],
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Set the priority of a job, or of all jobs of a query; steps that have not started take it, too."""
    field = "value" if where is None else "priority"
    _act("priority", job, where, dry_run, yes, as_json, **{field: to})


def _act(
    verb: str, job: str | None, where: str | None, dry_run: bool, yes: bool, as_json: bool, **more: bool | int
) -> None:
    if (job is None) == (where is None):
        raise UsageError("usage", f"{verb} needs either a job or --where", remedy=f"see `qmrunner {verb} --help`")
    if where is not None:
        move_all(verb, where, yes=yes, dry_run=dry_run, as_json=as_json, **more)
    elif job is not None:
        if dry_run:
            raise UsageError("usage", "--dry-run belongs to --where", remedy=f"leave it out: `qmrunner {verb} {job}`")
        _move(job, as_json, verb, **more)


def _move(job_id: str, as_json: bool, verb: str, **more: bool | int) -> None:
    from qmrunner.store import operator_actions

    verbs: dict[str, Callable[..., Any]] = {
        "cancel": operator_actions.cancel,
        "retry": operator_actions.retry,
        "hold": operator_actions.hold,
        "release": operator_actions.release,
        "priority": operator_actions.priority,
    }
    app = open_app(busy_seconds=30.0)
    named = job_named(app, job_id)
    with app.store.write() as connection:
        job = verbs[verb](connection, app.store.now(), named, **more, by=login_name())
    (job,) = resumed(app, verb, [job])
    app.queue.notify()
    if as_json:
        print_json({"id": job.id, "state": job.state, "cancel_requested": job.cancel_requested})
    elif verb == "priority":
        say(f"{job.id}: {job.state}, priority {job.priority}")
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
        workers.set_drain(connection, app.store.now(), app.home_id(), draining=False, by=login_name())
    app.queue.notify()
    say("resumed")


def drain() -> None:
    """Let the worker of this home finish its running steps and start no others. The daemon keeps running; `resume` ends
    the drain. Other workers are not affected."""
    from qmrunner.errors import NotReadyError
    from qmrunner.store import workers

    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        changed = workers.set_drain(connection, app.store.now(), app.home_id(), draining=True, by=login_name())
    if not changed:
        raise NotReadyError("no_worker", "no active worker runs on this home", remedy="`qmrunner status` lists workers")
    say("draining; `qmrunner status` shows the running steps, `qmrunner resume` ends the drain")


def _switch(*, paused: bool) -> None:
    from qmrunner.store import workers

    app = open_app(busy_seconds=30.0)
    with app.store.write() as connection:
        workers.set_paused(connection, app.store.now(), paused, by=login_name())


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
