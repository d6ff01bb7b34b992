"""slurm setup|submit|start|script: jobs and their workers on a Slurm cluster, from its login node."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from qmrunner.cli.common import build_app, open_app, say
from qmrunner.errors import ExitCode, QmrunnerError, UsageError

if TYPE_CHECKING:
    from qmrunner.app import App
    from qmrunner.slurm.site import Site
    from qmrunner.slurm.work import Started

_slurm = typer.Typer(
    help="Submit jobs on a Slurm cluster, and start pilots: workers as Slurm jobs, which end when no work is left.",
    no_args_is_help=True,
)

Most = Annotated[
    int,
    typer.Option(
        "--pilots", min=1, max=1000, metavar="N", help="At most N pilots in all; those that wait or run count."
    ),
]
More = Annotated[
    str | None,
    typer.Option(
        "--sbatch", metavar="OPTIONS", help="More options of sbatch for new pilots: --sbatch '--time=1-0 --mem=32G'."
    ),
]
_MOST = 8
_REST = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def register(cli: typer.Typer) -> None:
    cli.add_typer(_slurm, name="slurm")


@_slurm.command()
def setup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder on the shared filesystem.")],
    store: Annotated[
        str, typer.Option("--store", metavar="URL", help="Store: postgresql://USER@HOST/DATABASE.", show_default=False)
    ],
) -> None:
    """Make FOLDER ready for login node and pilots: folders for jobs, logs and checkpoints, and the settings file.

    An existing settings file keeps its lines. An empty database gets the tables of the store.
    """
    import os

    from qmrunner.settings import load
    from qmrunner.slurm import site
    from qmrunner.store.session import Store

    if not store.startswith("postgresql://"):
        raise UsageError("usage", f"--store {store}: pilots need a PostgreSQL server", remedy="--store postgresql://…")
    file = site.file_in(folder)
    if os.path.exists(file):  # False also for a path that cannot exist
        os.environ["QMRUNNER_CONFIG"] = str(file)  # it may name the file with the password
    os.environ["QMRUNNER_STORE_URL"] = store
    reach = Store(load().store)  # before anything is written: a mistyped address would stay in the file
    with reach.read():
        pass
    reach.close()
    file = site.set_up(folder, store)
    os.environ["QMRUNNER_CONFIG"] = str(file)
    opened = build_app(load())
    site.of(opened.settings, opened.store)
    opened.open_store(create=True)
    opened.verify_artifacts()
    say(f"{file} is ready. In every shell, or in ~/.bashrc:", err=True)
    say(f"export QMRUNNER_CONFIG={shlex.quote(str(file))}")


@_slurm.command(context_settings=_REST, no_args_is_help=True)
def submit(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND ...", help="As after `qmrunner submit`: nmr CCO, many FILE, nwchem DECK.nw …"),
    ] = None,
    pilots: Most = _MOST,
    sbatch: More = None,
) -> None:
    """Submit a job, or many, and start the pilots that it needs: qmrunner slurm submit nmr CCO

    Options of this command stand before KIND, those of the job after it. Pilots that wait or run are reused. When Slurm
    takes no pilot the job is still stored, and the exit status is 4: `qmrunner slurm start` starts pilots later.
    """
    from qmrunner.cli import submit as kinds

    given = [*(words or []), *context.args]
    if not given:
        raise UsageError("usage", "the kind of job is missing", remedy=f"{context.command_path} nmr CCO")
    helps = not {"--help", "-h"}.isdisjoint(given)
    site = None if helps else _site(sbatch)
    cli = typer.Typer()
    kinds.register(cli)
    group = typer.main.get_command(cli)
    assert isinstance(group, click.Group)
    command = group.commands.get("submit", group)
    then = None if site is None else partial(_start, site=site, most=pilots)
    raise typer.Exit(command.main(given, context.command_path, standalone_mode=False, obj=then) or ExitCode.OK)


@_slurm.command()
def start(pilots: Most = _MOST, sbatch: More = None) -> None:
    """Start the pilots that the jobs of the store need, or none if there is no work or enough pilots wait or run."""
    site = _site(sbatch)
    raise typer.Exit(_start(open_app(), site=site, most=pilots))


@_slurm.command()
def script() -> None:
    """Print the path of the batch script of a pilot, to give it to `sbatch` with your own options."""
    from qmrunner.slurm.batch import SCRIPT

    say(str(SCRIPT))


def _site(more: str | None) -> Site:
    """How pilots are started. Raises before anything is stored when this machine or its settings cannot do that."""
    from qmrunner.slurm import batch, site

    batch.require()
    opened = build_app()
    return site.of(opened.settings, opened.store, more)


def _start(app: App, *, site: Site, most: int) -> ExitCode:
    """Start pilots and report that on stderr; stdout has the ids of jobs."""
    from qmrunner.slurm import work

    try:
        for line in _report(work.start(app, site, most), site):
            say(line, err=True)
    except QmrunnerError as problem:  # jobs are stored, and their ids must be printed
        say(f"qmrunner: {problem.code}: {problem}", err=True)
        return ExitCode.NOT_READY
    return ExitCode.OK


def _report(made: Started, site: Site) -> list[str]:
    lines = [
        f"pilot {pilot.job} never starts: {pilot.stuck}; `scancel {pilot.job}` removes it"
        for pilot in made.known
        if pilot.stuck is not None
    ]
    running = sum(not pilot.waits for pilot in made.known)
    waiting = sum(pilot.waits and pilot.stuck is None for pilot in made.known)
    known = f"{running} running, {waiting} waiting"
    if made.successor:
        lines.append(f"pilots: {known}; {made.job} follows when they have ended, so that no step is left")
    elif made.job is not None:
        lines.append(f"pilots: {made.count} started as job {made.job}, {site.cores} cores each; before: {known}")
    elif made.known:
        lines.append(f"pilots: {known}; no new one is needed")
    else:
        return [*lines, "no unfinished job needs a pilot"]
    if made.problem is not None:
        lines.append(f"Slurm took no further pilot: {made.problem.evidence}")
        lines.append("if steps stay ready after the pilots have ended: `qmrunner slurm start`")
    return [*lines, f"watch: `squeue --name={site.name}`, `qmrunner status`; output of pilots: {site.logs}"]
