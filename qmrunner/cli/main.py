"""The front door: collects the commands, and turns every error into code, evidence, remedy and exit status."""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Annotated

import typer

from qmrunner import __version__
from qmrunner.cli import actions, daemon, database, doctor, reports, scratch, serve, submit, tokens
from qmrunner.errors import ExitCode, QmrunnerError

cli = typer.Typer(
    name="qmrunner",
    help="Runs quantum chemistry: nothing lost, nothing stuck, nothing leaked, nothing wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (daemon, submit, reports, actions, scratch, doctor, database, serve, tokens):
    module.register(cli)


def _version(asked: bool) -> None:
    if asked:
        print(f"qmrunner {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    # What a command loads stays until it ends: looking for garbage meanwhile cost a tenth of `status`.
    gc.set_threshold(50_000)
    try:
        cli()
    except QmrunnerError as problem:
        sys.exit(_tell(problem))
    except BrokenPipeError:
        # The reader of our stdout has left (`| head`); say nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)


def _tell(problem: QmrunnerError) -> int:
    if "--json" in sys.argv:
        print(json.dumps({"error": problem.as_dict()}))
    else:
        print(f"qmrunner: {problem.code}: {problem}", file=sys.stderr)
    return int(problem.exit_code or ExitCode.FAILED)
