"""doctor: check that this machine can be a worker."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from qmrunner.cli.common import AsJson, print_json, say
from qmrunner.errors import ExitCode, NotReadyError, QmrunnerError, UsageError, nearest
from qmrunner.masking import mask
from qmrunner.model import visible

if TYPE_CHECKING:
    from qmrunner.doctor.finding import Finding
    from qmrunner.settings import Settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_NAME_WIDTH = 17
_INDENT = " " * (6 + _NAME_WIDTH)


def register(cli: typer.Typer) -> None:
    cli.command()(doctor)


def doctor(
    as_json: AsJson = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Also run small real calculations.")] = False,
    env: Annotated[
        str | None, typer.Option("--env", metavar="ENGINE", help="Print the environment variables of an engine.")
    ] = None,
) -> None:
    """Check this machine for known causes of failing jobs. The exit status is 0 if no check failed, else 4."""
    from qmrunner import settings

    found: Settings | None
    problem: QmrunnerError | None
    if smoke and env is not None:
        raise UsageError("options_conflict", "--smoke and --env cannot be combined", remedy="run two commands")
    try:
        found, problem = settings.load(), None
    except QmrunnerError as error:
        found, problem = None, error
    except OSError as error:
        text = "the settings cannot be read: the current folder does not exist any more"
        found = None
        problem = NotReadyError("folder_gone", text, evidence=str(error), remedy="change to another folder")
    if env is not None:
        if problem is not None:
            raise problem
        assert found is not None
        _print_environment(env, found, as_json)
        return
    findings = []
    for finding in _findings(found, problem, smoke):
        findings.append(finding)
        if not as_json:
            _show(finding)
    counts = {result: sum(finding.result == result for finding in findings) for result in _COLOURS}
    if as_json:
        print_json({"checks": [finding.as_dict() for finding in findings], "summary": counts})
    else:
        plural = "" if counts["warn"] == 1 else "s"
        say(f"\n{counts['ok']} ok, {counts['warn']} warning{plural}, {counts['fail']} failed")
    raise typer.Exit(ExitCode.NOT_READY if counts["fail"] else ExitCode.OK)


def _findings(found: Settings | None, problem: QmrunnerError | None, smoke: bool) -> Iterator[Finding]:
    from qmrunner.doctor.checks import examine

    yield from examine(found, problem)
    if smoke and found is not None:
        from qmrunner.doctor.smoke import smoke as run_all

        yield from run_all(found)


def _show(finding: Finding) -> None:
    """Print one line on a pipe; on a terminal wrapped under its column, and in colour unless NO_COLOR is set."""
    terminal = sys.stdout.isatty()
    word = f"{finding.result:<6}"
    if terminal and not os.environ.get("NO_COLOR"):
        word = typer.style(word, fg=_COLOURS[finding.result])
    print(f"{word}{finding.name:<{_NAME_WIDTH}}{_wrapped(finding.text, terminal)}", flush=True)
    if finding.remedy:
        print(f"{_INDENT}fix: {_wrapped(finding.remedy, terminal)}", flush=True)


def _wrapped(text: str, terminal: bool) -> str:
    text = visible.line(mask(text))
    if not terminal:
        return text
    width = max(40, shutil.get_terminal_size().columns - len(_INDENT) - 5)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return f"\n{_INDENT}".join(lines)


def _print_environment(name: str, found: Settings, as_json: bool) -> None:
    from qmrunner.doctor.checks import installed
    from qmrunner.doctor.environment import environment_of, report
    from qmrunner.engines import ENGINES, NAMES
    from qmrunner.host.capacity import capacity

    if name not in ENGINES:
        near = nearest(name, NAMES)
        known = f"did you mean {near}?" if near else f"engines are {', '.join(NAMES)}"
        raise UsageError("unknown_engine", f"unknown engine {name!r}", evidence=name, remedy=known)
    composed = environment_of(ENGINES[name], installed(name, found), found, capacity(found), os.environ)
    printed = report(name, composed)
    if as_json:
        print_json(printed)
        return
    width = max(len(change.name) for change in composed.changes)
    for change in composed.changes:
        if change.now is None:
            text = f"drop   {change.name:<{width}}  {change.was}  ({change.why})"
        else:
            was = "" if change.was is None else f"  (was {change.was}; {change.why})"
            text = f"set    {change.name:<{width}}  {change.now}{was}"
        say(visible.line(text))
    say(f"\npassed on unchanged: {', '.join(printed['passed_on'])}")
