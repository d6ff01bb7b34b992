"""Output of a task's children that goes to files: found by what their stdout and stderr are, forwarded as a log, and
copied to the folder of the logs.

An application that starts programs with `> optimize.out` has their output in its own folders only, and may remove it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.log_registry import LogRegistry

_MOST = 64  # files of one attempt
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")
_LONGEST = 60
COPY = "~"  # between the name of a log and that of a redirected file
_CHUNK = 1 << 20
_AT_ONCE = 8 << 20  # bytes of one file between two looks at the guardian
_MOST_BYTES = 256 << 20  # of one file


class RedirectedOutput:
    """The files of one attempt. Only tasks of applications have them: engines write to the attempt's log."""

    def __init__(self, attempt: ActiveAttempt, registry: LogRegistry) -> None:
        self._attempt = attempt
        self._registry = registry
        self._on = attempt.step.engine == "huey"
        self._patterns: list[str] = (attempt.step.params.get("words") or {}).get("follow", ["*"])
        self._seen: dict[Path, str] = {attempt.log: ""}
        self._copies: list[_Copy] = []

    def watch(self, sample: Mapping[str, Any]) -> None:
        """Look at the processes of a sample of the guardian, and forward the files that are new."""
        if not self._on:
            return
        for copy in self._copies:
            copy.advance(_AT_ONCE)
        for pid, *_ in sample["tree"]:
            for descriptor in (1, 2):
                path = _regular_file(int(pid), descriptor)
                if path is not None and path not in self._seen and len(self._seen) <= _MOST and self._is_wanted(path):
                    self._forward(path)

    def _is_wanted(self, path: Path) -> bool:
        return any(fnmatchcase(path.name, pattern) for pattern in self._patterns)

    def _forward(self, path: Path) -> None:
        name = _UNSAFE.sub("_", path.name)[:_LONGEST]
        same = sum(label.partition(":")[2].partition("#")[0] == name for label in self._seen.values())
        name += f"#{same + 1}" if same else ""
        label = f"{self._attempt.label}:{name}"
        self._seen[path] = label
        self._copies.append(_Copy(path, copy_of(self._attempt.log, name)))
        with suppress(OSError):  # a full disk: the file is still where the application wants it
            self._registry.add(label, self._attempt.number, path)

    def finish(self) -> None:
        for copy in self._copies:
            copy.advance(_MOST_BYTES)
        for label in filter(None, self._seen.values()):
            self._registry.finish(label, self._attempt.number)


def copy_of(log: Path, name: str) -> Path:
    """Where the copy of a redirected file is, beside the log of its attempt."""
    return log.with_name(f"{log.stem}{COPY}{name}")


class _Copy:
    """A file of the application, and how much of it is copied. It may grow, be written again, or be replaced."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        # An earlier consumer may have copied a part.
        self._offset = self._copied = target.stat().st_size if target.is_file() else 0

    def advance(self, most: int) -> None:
        """Copy what is new, `most` bytes at once. On a full disk the copy ends there: the original is complete."""
        try:
            with untrusted.open_file(self._source) as file, self._target.open("ab") as target:
                size = os.fstat(file.fileno()).st_size
                self._offset = self._offset if size >= self._offset else 0
                file.seek(self._offset)
                left = min(most, _MOST_BYTES - self._copied)
                while left > 0 and (data := file.read(min(left, _CHUNK))):
                    target.write(data)
                    self._offset += len(data)
                    self._copied += len(data)
                    left -= len(data)
        except OSError:
            return


def _regular_file(pid: int, descriptor: int) -> Path | None:
    """The file that a process has open for writing as this descriptor; None for pipes, devices and deleted files."""
    link = f"/proc/{pid}/fd/{descriptor}"
    try:
        path = Path(os.readlink(link))
        opened, named = os.stat(link), os.lstat(path)
    except OSError:
        return None  # it ended meanwhile
    same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    return path if same and stat.S_ISREG(named.st_mode) and path.is_absolute() else None
