"""Jobs that a command selects with `--where`: a query, the count of what would be moved, and the move."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmrunner.cli.common import login_name, open_app, print_json, say
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.model import visible

if TYPE_CHECKING:
    from qmrunner.app import App
    from qmrunner.model.job_filter import JobFilter
    from qmrunner.model.jobs import Job
    from qmrunner.store.bulk import Planned

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="QUERY",
        help="All jobs that meet this query, for example 'group:batch7 state:failed since:7d'; keys: state, kind, code,"
        " owner, group, name, smiles, since, until.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="With --where: do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --where: print what would be moved, and change nothing.")]
_SHOWN = 10


def filter_of(app: App, where: str) -> JobFilter:
    """The filter of a query. Raises UsageError `bad_query`, `invalid_smiles`."""
    from dataclasses import replace

    from qmrunner.reports import query
    from qmrunner.submission.structure import canonical

    found = query.parse(where, app.store.now()).filter
    return found if found.structure is None else replace(found, structure=canonical(found.structure))


def move_all(verb: str, where: str, *, yes: bool, dry_run: bool, as_json: bool, **more: Any) -> None:
    """Move all jobs that meet the query, after their number was confirmed."""
    from qmrunner.store import bulk

    app = open_app(busy_seconds=30.0)
    wanted = filter_of(app, where)
    if wanted.admits_all:
        raise UsageError("bad_query", "the query has no condition", remedy="give at least one, as in group:batch7")
    with app.store.read() as connection:
        planned = bulk.matching(connection, verb, wanted)
    if not as_json:
        say("\n".join(_described(verb, planned)), err=not dry_run)
    moved, late = [], []
    if planned.moves and not dry_run and (yes or _confirmed(verb, planned)):
        for piece in bulk.pieces(planned.moves):
            jobs, skipped = bulk.move(app.store, verb, piece, by=login_name(), **more)
            moved += jobs
            late += skipped
        moved = resumed(app, verb, moved)
        app.queue.notify()
    if as_json:
        print_json(_answer(verb, planned, moved, late, dry_run))
    elif moved or late:
        states = Counter(str(job.state) for job in moved)
        say(f"{len(moved)} job(s): " + ", ".join(f"{count} {state}" for state, count in states.items()))
        for row in late[:_SHOWN]:
            say(f"{row['id']}: not moved: {row['reason']}", err=True)


def resumed(app: App, verb: str, moved: list[Job]) -> list[Job]:
    """These jobs, once their files were sent if they were held for them and the files are on this machine."""
    from qmrunner.store import jobs as job_store
    from qmrunner.store.unsent_jobs import INPUTS_ELSEWHERE

    held = {job.id for job in moved if verb in ("retry", "release") and job.code == INPUTS_ELSEWHERE}
    if not held:
        return moved
    try:
        app.send_unsent(held)
    except QmrunnerError as problem:  # the jobs were moved: a worker that reaches the files sends them later
        say(visible.line(f"their files were not sent: {problem.message}; {problem.evidence or ''}"), err=True)
    with app.store.read() as connection:
        now = job_store.get_all(connection, held)
    return [now.get(job.id, job) for job in moved]


def _described(verb: str, planned: Planned) -> list[str]:
    of = ", ".join(f"{count} {state}" for state, count in planned.states.items())
    lines = [f"{verb}: {len(planned.moves)} job(s)" + (f" ({of})" if of else "")]
    reasons = Counter(row["reason"] for row in planned.skipped)
    lines += [f"left as they are: {count}: {reason}" for reason, count in reasons.most_common(_SHOWN)]
    if planned.more:
        lines.append("more jobs meet the query: repeat the command for the next ones")
    return lines


def _confirmed(verb: str, planned: Planned) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "not_confirmed",
            f"{verb} of {len(planned.moves)} job(s) was not confirmed, and there is no terminal to ask",
            remedy="look at the number with --dry-run, then add --yes",
        )
    return typer.confirm(f"{verb} {len(planned.moves)} job(s)?", err=True)


def _answer(verb: str, planned: Planned, moved: list[Any], late: list[Any], dry_run: bool) -> dict[str, Any]:
    return {
        "verb": verb,
        "dry_run": dry_run,
        "matched": len(planned.moves) + len(planned.skipped),
        "more": planned.more,
        "moves": len(planned.moves) if dry_run else len(moved),
        "states": planned.states,
        "jobs": [{"id": job.id, "state": job.state, "cancel_requested": job.cancel_requested} for job in moved],
        "skipped": [*planned.skipped, *late],
    }
