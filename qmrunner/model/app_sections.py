"""The applications of a worker and the options of their tasks: the content of `apps.toml`. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qmrunner.model.app_names import name_of
from qmrunner.model.app_tasks import words_of

FILE = "apps.toml"
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,39}")
_CHOICES = {
    "isolation": ("auto", "fork", "exec", "worker"),
    "tmpdir": ("attempt", "inherit"),
    "stop": ("finish", "interrupt"),
}
_KEYS = ("command", "cwd", *_CHOICES, "tasks")


@dataclass(frozen=True, slots=True)
class AppSection:
    """One application. `command` in words; `cwd` None: that of the daemon; `tasks`: options by the name of the task.

    `isolation`: each task is a fork of the app host, or the command executed once more, or one of those that a lasting
    process runs; `auto`: the app host chooses. `tmpdir`: its own for each attempt, or that of the daemon. `stop`: a
    task may finish within half the stop grace, or is interrupted at once.
    """

    name: str
    command: tuple[str, ...]
    cwd: str | None = None
    isolation: str = "auto"
    tmpdir: str = "attempt"
    stop: str = "finish"
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def sections(text: str, command: str | None) -> tuple[AppSection, ...]:
    """The applications: that of `command` (`QMRUNNER_APP`) first, then those of the file.

    Raises ValueError with one line for each problem, which names the place in the file.
    """
    import tomllib  # most commands need no file

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(str(problem)) from None
    problems: list[str] = []
    words = tuple(shlex.split(command)) if command else ()
    first = name_of(words) if words else None
    made = [_section(first, found.pop(first, {}), problems, words)] if first is not None else []
    made += [_section(name, given, problems, ()) for name, given in found.items()]
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(made)


def _section(name: str, given: Any, problems: list[str], words: tuple[str, ...]) -> AppSection:
    if not isinstance(given, dict):
        problems.append(f"{name}: expected a section, `[{name}]`")
        given = {}
    if not _NAME.fullmatch(name):
        problems.append(f"[{name}]: a name has small letters, digits, `_`, `.` and `-`, 40 characters at most")
    problems += [f"{name}.{key}: unknown; expected one of {', '.join(_KEYS)}" for key in given if key not in _KEYS]
    values: dict[str, Any] = {}
    for key, allowed in _CHOICES.items():
        if key in given and given[key] not in allowed:
            problems.append(f"{name}.{key}: {given[key]!r:.60} is not one of {', '.join(allowed)}")
        elif key in given:
            values[key] = given[key]
    if not isinstance(given.get("cwd", "/"), str) or not given.get("cwd", "/").startswith("/"):
        problems.append(f"{name}.cwd: expected an absolute path")
    return AppSection(
        name, words or _command(name, given, problems), given.get("cwd"), tasks=_tasks(name, given, problems), **values
    )


def _command(name: str, given: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    command = given.get("command")
    try:
        words = tuple(shlex.split(command)) if isinstance(command, str) else ()
    except ValueError as problem:
        problems.append(f"{name}.command: {problem}")
        return ("?",)
    if not words:
        problems.append(f"{name}.command: expected the command of a Huey consumer")
    return words


def _tasks(name: str, given: Mapping[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    tasks = given.get("tasks", {})
    if not isinstance(tasks, dict):
        problems.append(f'{name}.tasks: expected sections, `[{name}.tasks."module.function"]`')
        return {}
    made = {}
    for task, options in tasks.items():
        words, objections = words_of(options)
        problems += [f'{name}.tasks."{task}": {objection}' for objection in objections]
        made[task] = words
    return made
