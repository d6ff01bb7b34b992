"""The commands, and the program that has them. A start loads only the module of the command that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from qmrunner import __version__

# Each command, and the module of this package that registers it; in the order of the help.
_MODULES = {
    **dict.fromkeys(("run", "health"), "run"),
    "submit": "submit",
    **dict.fromkeys(("status", "logs", "result", "why"), "status"),
    **dict.fromkeys(("cancel", "retry", "hold", "release", "priority", "pause", "resume", "drain", "sweep"), "actions"),
    "scratch": "scratch",
    "doctor": "doctor",
    "db": "database",
    "slurm": "slurm",
    "serve": "serve",
    "web": "web",
    "token": "tokens",
    "completion": "completion",
}


def program(words: Sequence[str] = ()) -> typer.Typer:
    """The program with the command that the command line `words` begins with; with all commands if it is none of
    them."""
    cli = typer.Typer(
        name="qmrunner",
        help="Run quantum-chemistry jobs on your own machines: NMR shifts, conformer searches, and inputs of NWChem,"
        " xTB and CREST. Start the daemon with `qmrunner run`, then submit jobs with `qmrunner submit`.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    cli.callback()(_options)
    first = words[0] if words else ""
    for name in [_MODULES[first]] if first in _MODULES else dict.fromkeys(_MODULES.values()):
        import_module(f"qmrunner.cli.{name}").register(cli)
    return cli


def _version(asked: bool) -> None:
    if asked:
        print(f"qmrunner {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
