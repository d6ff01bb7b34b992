"""completion SHELL: the script with which a shell completes commands and options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_QMRUNNER_COMPLETE"


def register(cli: typer.Typer) -> None:
    cli.command()(completion)


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands and options: eval "$(qmrunner completion bash)" in ~/.bashrc."""
    import click
    from click.shell_completion import get_completion_class

    from qmrunner.errors import UsageError, nearest

    kind = get_completion_class(shell) if shell in _SHELLS else None
    if kind is None:
        near = nearest(shell, _SHELLS)
        raise UsageError(
            "unknown_shell", f"there is no completion for the shell {shell[:40]!r}",
            remedy=f"{f'did you mean {near}? ' if near else ''}known are {', '.join(_SHELLS)}",
        )  # fmt: skip
    root = click.get_current_context().find_root().command
    maker = kind(root, {}, "qmrunner", _VARIABLE)
    # Not `source()`, which starts bash to look at its version. Typer reads the two words in the other order.
    script = maker.source_template % maker.source_vars()
    sys.stdout.write(script.replace(f"{shell}_complete", f"complete_{shell}").strip() + "\n")
