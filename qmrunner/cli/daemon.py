"""run, health."""

from __future__ import annotations

import typer

from qmrunner.cli.common import AsJson, print_json


def register(cli: typer.Typer) -> None:
    cli.command()(run)
    cli.command()(health)


def run() -> None:
    """Run the daemon in the foreground: the main process of a worker container. Ends on SIGTERM."""
    from qmrunner import app
    from qmrunner.runtime.supervisor import Supervisor

    raise typer.Exit(Supervisor(app.build()).run())


def health(as_json: AsJson = False) -> None:
    """Whether the daemon of this home does its work: exit status 0, or 4 with the reason."""
    from qmrunner import settings
    from qmrunner.runtime.health import examine

    report = examine(settings.load())
    if as_json:
        print_json(report)
    else:
        print("healthy" if report["healthy"] else f"unhealthy: {report['reason']}")
    raise typer.Exit(0 if report["healthy"] else 4)
