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

from qmrunner.attempt.spawner_client import app_socket
from qmrunner.errors import UsageError
from qmrunner.model.app_names import label_of, name_of
from qmrunner.model.app_sections import AppSection
from qmrunner.private import umasks
from qmrunner.settings import Settings

# The host's environment, beyond the daemon's: room for the marker of a forked task (`side/task.py`).
ENVIRONMENT = {"QMRUNNER_SPACE": "." * 200, "PYTHONUNBUFFERED": "1"}
SIDE = Path(__file__).parent / "side" / "start.py"
HOOK = SIDE.parent / "hook"
_PYTHON = re.compile(r"(python|pypy)[\d.]*$")
_EXEC = re.compile(r"""^'''exec'\s+(?:"([^"]+)"|(\S+))""")
_PROGRAM = ("-m", "-c")
# Programs that start another command.
_LAUNCHERS = re.compile(
    "uvx?|rye|pixi|micromamba|conda|mise|direnv|env|nice|ionice|chrt|taskset|stdbuf|timeout|setsid|setpriv|gosu|su-exec"
    "|tini|dumb-init|docker-init|catatonit|(ba|da|a|z)?sh|busybox|time|chpst|s6-setuidgid|doppler"
)
HOST = "QMRUNNER_APP_HOST"
_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")


@dataclass(frozen=True, slots=True)
class AppCommand:
    """`words`: the command. `python`: its interpreter and options, and one of `script`, `module` and `code`; all empty
    for a command that starts the interpreter itself."""

    name: str
    words: tuple[str, ...]
    python: tuple[str, ...] = ()
    script: str | None = None
    module: str | None = None
    code: str | None = None
    arguments: tuple[str, ...] = ()
    section: AppSection | None = None

    @property
    def label(self) -> str:
        return label_of(self.name)

    def start(self, listener: int, run_root: Path, owner: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment of the app host."""
        argv = self._argv()
        spec = {
            "python": self.python,
            "side": str(SIDE),
            "argv": argv,
            "command": self.words,
            "script": self.script,
            "module": self.module,
            "code": self.code,
            "arguments": list(self.arguments),
            "listener": listener,
            "socket": str(run_root / app_socket(self.name)),
            "supervisor": os.getpid(),
            "umask": umasks()[0],
            "owner": owner,
            "isolation": self.section.isolation if self.section else "auto",
        }
        path = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH", ""))))
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path, HOST: json.dumps(spec)}
        return argv, environment

    def _argv(self) -> list[str]:
        """It ends with the words of the command: other programs look for the application by its command line
        (`pgrep -f huey_consumer`)."""
        if not self.python:
            return list(self.words)
        program = ["-m", self.module] if self.module else ["-c", self.code] if self.code else [self.script]
        return [*self.python, str(SIDE), *(word for word in program if word), *self.arguments]


def all_of(settings: Settings) -> list[AppCommand]:
    """The applications that this worker runs. Raises UsageError."""
    return [replace(parse(section.command), name=section.name, section=section) for section in settings.apps]


def parse(words: Sequence[str]) -> AppCommand:
    """Raises UsageError `app_command` when this can start no Python program."""
    program = shutil.which(words[0])
    if program is None:
        raise _refused(words, f"there is no program {words[0]!r}")
    if _PYTHON.match(os.path.basename(words[0])):
        return _of_interpreter(program, words)
    python = _interpreter_of(Path(program))
    if python is not None:
        return AppCommand(name_of(words), tuple(words), python, script=program, arguments=tuple(words[1:]))
    if not _LAUNCHERS.fullmatch(os.path.basename(words[0])) and not _is_script(Path(program)):
        raise _refused(words, f"{program} is neither a script nor a known launcher")
    return AppCommand(name_of(words), (program, *words[1:]))


def _of_interpreter(program: str, words: Sequence[str]) -> AppCommand:
    options: list[str] = []
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] not in _PROGRAM:
        options.append(rest.pop(0))
        if options[-1] in _WITH_VALUE and rest:
            options.append(rest.pop(0))
    if not rest or (rest[0] in _PROGRAM and len(rest) == 1):
        raise _refused(words, "it names no script and no module")
    found = AppCommand(name_of(words), tuple(words), (program, *options))
    if rest[0] == "-m":
        return replace(found, module=rest[1], arguments=tuple(rest[2:]))
    if rest[0] == "-c":
        return replace(found, code=rest[1], arguments=tuple(rest[2:]))
    return replace(found, script=rest[0], arguments=tuple(rest[1:]))


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


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
