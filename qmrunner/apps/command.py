"""The command of a Huey application: which interpreter runs it, and what its name is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qmrunner.errors import UsageError
from qmrunner.model.app_names import label_of, name_of
from qmrunner.model.app_sections import AppSection
from qmrunner.settings import Settings

# The host's environment, beyond the daemon's: room for the marker of a forked task (`side/task.py`).
ENVIRONMENT = {"QMRUNNER_SPACE": "." * 200, "PYTHONUNBUFFERED": "1"}
SIDE = Path(__file__).parent / "side" / "start.py"
_PYTHON = re.compile(r"(python|pypy)[\d.]*$")
_EXEC = re.compile(r"""exec'?\s+(?:"([^"]+)"|(\S+))""")
_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")


@dataclass(frozen=True, slots=True)
class AppCommand:
    """`python`: interpreter and its options. Either `script` or `module` is set."""

    name: str
    python: tuple[str, ...]
    script: str | None
    module: str | None
    arguments: tuple[str, ...]
    section: AppSection | None = None

    @property
    def label(self) -> str:
        return label_of(self.name)

    def argv(self, listener: int, owner: str) -> list[str]:
        """The command of the app host."""
        spec = {
            "python": self.python,
            "side": str(SIDE),
            "script": self.script,
            "module": self.module,
            "arguments": list(self.arguments),
            "listener": listener,
            "owner": owner,
            "isolation": self.section.isolation if self.section else "fork",
        }
        return [*self.python, str(SIDE), json.dumps(spec)]


def all_of(settings: Settings) -> list[AppCommand]:
    """The applications that this worker runs. Raises UsageError."""
    return [replace(parse(section.command), name=section.name, section=section) for section in settings.apps]


def parse(words: Sequence[str]) -> AppCommand:
    """Raises UsageError `app_command` when this is no Python program."""
    program = shutil.which(words[0])
    if program is None:
        raise _refused(words, f"there is no program {words[0]!r}")
    if _PYTHON.match(os.path.basename(words[0])):
        return _of_interpreter(program, words)
    python = _interpreter_of(Path(program))
    if python is None:
        raise _refused(words, f"{program} is no Python script")
    return AppCommand(name_of(words), python, program, None, tuple(words[1:]))


def _of_interpreter(program: str, words: Sequence[str]) -> AppCommand:
    options: list[str] = []
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        options.append(rest.pop(0))
        if options[-1] in _WITH_VALUE and rest:
            options.append(rest.pop(0))
    if not rest or "-c" in options or (rest[0] == "-m" and len(rest) == 1):
        raise _refused(words, "it names no script and no module")
    if rest[0] == "-m":
        return AppCommand(name_of(words), (program, *options), None, rest[1], tuple(rest[2:]))
    return AppCommand(name_of(words), (program, *options), rest[0], None, tuple(rest[1:]))


def _interpreter_of(script: Path) -> tuple[str, ...] | None:
    """The interpreter in a script's first line; installers write a shell line instead when its path is long."""
    try:
        with script.open("rb") as file:
            first, second = file.readline(), file.readline()
    except OSError:
        return None
    if not first.startswith(b"#!"):
        return None
    words = first[2:].decode(errors="replace").split()
    if words and words[0].endswith("/sh") and _EXEC.search(second.decode(errors="replace")):
        words = [part for part in _EXEC.findall(second.decode(errors="replace"))[0] if part][:1]
    elif words and os.path.basename(words[0]) == "env":
        found = shutil.which(words[1]) if len(words) > 1 else None
        words = [found, *words[2:]] if found else []
    return tuple(words) if words and _PYTHON.match(os.path.basename(words[0])) else None


def _refused(words: Sequence[str], why: str) -> UsageError:
    return UsageError(
        "app_command",
        f"`{shlex.join(words)}` is not the command of a Huey application: {why}",
        remedy="give the command that starts its consumer: `qmrunner run -- huey_consumer package.module.huey -w 1`",
    )
