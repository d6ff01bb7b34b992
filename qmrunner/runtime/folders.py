"""Where everything of an attempt lives, and the proof that nobody lives there any more."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner.model.identity import Identity
from qmrunner.runtime import guardian, tree
from qmrunner.settings import Settings
from qmrunner.store.claims import Paths

WORK = "work"  # below the attempt directory: the engine's current directory
SNAPSHOTS = "checkpoint"  # beside it, where no engine writes; engines look there when they resume


def paths(settings: Settings) -> Paths:
    scratch, logs = settings.scratch_root, settings.logs_root
    return Paths(
        directory=lambda job, step, number: str(scratch / job / step / str(number)),
        log=lambda job, step, number: str(logs / job / f"{step}.{number}.log"),
    )


@dataclass(frozen=True)
class AttemptFolder:
    """The private directory of one attempt, as its guardian and its consumers share it."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / WORK

    @property
    def snapshots(self) -> Path:
        return self.path / SNAPSHOTS

    def exit_record(self) -> dict[str, Any] | None:
        return _read_json(self.path / guardian.EXIT)

    def record(self) -> dict[str, Any] | None:
        return _read_json(self.path / guardian.RECORD)

    def policy(self) -> dict[str, Any] | None:
        """How its guardian confined the engine (`landlock.Policy`); None where the kernel did not hold it."""
        order = _read_json(self.path / guardian.COMMAND) or {}
        held = order.get("confinement")
        return held["policy"] if isinstance(held, dict) else None

    def guardian_identity(self) -> Identity | None:
        record = self.record()
        return Identity.from_dict(record["guardian"]) if record else None

    def guardian_lives(self) -> bool:
        """Whether a guardian is there: it holds the lock (seen across pid namespaces), or is still on its way out.

        A dying process lets go of its locks before its children are handed on; only as a zombie is it done with both.
        """
        if self._locked():
            return True
        identity = self.guardian_identity()
        return identity is not None and tree.is_alive(identity)

    def _locked(self) -> bool:
        try:
            descriptor = os.open(self.path / guardian.LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def fence(self) -> bool:
        """No guardian will start anything here from now on. False when one lives already."""
        if not self.path.is_dir():
            return True
        (self.path / guardian.FENCED).touch()
        return not self.guardian_lives()

    def fence_if_dead(self) -> bool:
        """Fence the attempt unless a guardian lives. True when none lives, now or ever again."""
        if self.guardian_lives():
            return False
        return self.fence()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def unfinished(path: Path) -> Path:
    """Where `write_atomically` writes before the rename."""
    return path.with_name(f".{path.name}.new")


def write_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """The whole file or none of it, under its name. One writer at a time: what a killed one left is written over."""
    temporary = unfinished(path)
    with open(temporary, "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)
