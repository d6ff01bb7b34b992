"""The command line: runs the program and prints every error with code, evidence, remedy and exit status."""

from __future__ import annotations

import gc
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner.errors import ExitCode, QmrunnerError, UsageError
from qmrunner.model import visible
from qmrunner.settings_file import PREFIX

if TYPE_CHECKING:
    import click

_OWN_LINE = re.compile(r"\n {2,}")
_LONGEST = 4000  # characters of a message that are shown
# What a command loads stays until it ends, and a collection of it took a tenth of the time of `status`.
_OBJECTS_UNTIL_COLLECTED = 200_000


def _hold_standard_streams() -> None:
    """Open stdin, stdout and stderr on /dev/null where they were closed at the start. Otherwise the next opened file
    would get their number, and printed text would be written into it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main() -> None:
    """Entry point of the console script."""
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTED)
    _hold_standard_streams()
    for stream in (sys.stdout, sys.stderr):  # escape characters that the locale lacks
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our stdout has ended (`| head`): print nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 0
    sys.exit(status)


def _run() -> int:
    """Run the command and print its error, if any; returns the exit status. Raises BrokenPipeError."""
    import click

    from qmrunner.cli.program import program

    try:
        _refuse_undecodable(sys.argv[1:], os.environ)
        status = program(sys.argv[1:])(standalone_mode=False)
        return status if isinstance(status, int) else 0
    except QmrunnerError as problem:
        return _print_error(problem)
    except click.exceptions.NoArgsIsHelpError as asked:
        print(asked.format_message())  # empty where Typer has printed the help already
        return ExitCode.USAGE
    except click.ClickException as problem:
        return _print_error(_usage_error(problem))
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as problem:
        return _print_error(_internal_error(problem))


def _refuse_undecodable(words: Sequence[str], variables: Mapping[str, str]) -> None:
    """Raise UsageError for invalid UTF-8, which arrives as lone surrogates that no store and no JSON can hold."""
    given = [("an argument", word, _cut(word)) for word in words]
    # Show names only: a value may be a password.
    given += [(name, value, name) for name, value in variables.items() if name.startswith(PREFIX)]
    for what, word, evidence in given:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                "bad_argument",
                f"{what} is not valid UTF-8",
                evidence=evidence,
                remedy="use UTF-8; rename a file whose name is not valid UTF-8, or link to it under another name",
            ) from None


def _usage_error(problem: click.ClickException) -> UsageError:
    """An error of the command line parser as a UsageError."""
    context = getattr(problem, "ctx", None)
    command = context.command_path if context else "qmrunner"
    return UsageError("usage", problem.format_message(), remedy=f"`{command} --help` lists its arguments and options")


def _internal_error(problem: Exception) -> QmrunnerError:
    """A bug in qmrunner, reported by its place in the code: a full traceback may contain secrets."""
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(problem.__traceback__)[-4:]
    ]
    return QmrunnerError(
        "internal_error",
        "this is a bug in qmrunner",
        evidence=f"{type(problem).__name__}: {_cut(str(problem))} ({' > '.join(places)})",
        remedy="report it, and include the line above",
    )


def _print_error(problem: QmrunnerError) -> int:
    from qmrunner.cli.common import print_json, say

    if "--json" in sys.argv:
        print_json({"error": problem.as_dict()})
    else:
        parts = [f"qmrunner: {problem.code}: {_part(problem.message)}"]
        parts += [f"  seen: {_part(problem.evidence)}"] if problem.evidence else []
        parts += [f"  fix:  {_part(problem.remedy)}"] if problem.remedy else []
        say("\n".join(parts), err=True)
    return int(problem.exit_code or ExitCode.FAILED)


def _part(text: str) -> str:
    """The text with its own line breaks kept and line breaks inside values escaped, so that no value can imitate
    another part or another message."""
    return "\n        ".join(visible.line(line) for line in _OWN_LINE.split(_cut(text)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
