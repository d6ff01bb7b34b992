"""The private directory of an attempt, and the proof that no guardian runs in it."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner import private, untrusted
from qmrunner.guardian import process, process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.settings import Settings
from qmrunner.store.claims import Paths

WORK = "work"  # below the attempt directory: the engine's current directory
SNAPSHOTS = process.SNAPSHOTS  # next to it; engines read it when they resume
_LEVELS = 3  # below the scratch root: job, step, attempt number
_IN_THE_WAY = (errno.ELOOP, errno.ENXIO, errno.EISDIR)


class LogProblem(OSError):
    """The log of an attempt could not be made."""


def paths(settings: Settings) -> Paths:
    scratch, logs = settings.scratch_root, settings.logs_root
    return Paths(
        directory=lambda job, step, number: str(scratch / job / step / str(number)),
        log=lambda job, step, number: str(logs / job / f"{step}.{number}.log"),
    )


@dataclass(frozen=True)
class AttemptDirectory:
    """The private directory of one attempt, as its guardian and its consumers share it.

    `known`: its guardian's identity from the fork or the store; an engine may have forged the record in the directory.
    """

    path: Path
    known: Identity | None = None

    @property
    def work(self) -> Path:
        return self.path / WORK

    @property
    def snapshots(self) -> Path:
        return self.path / SNAPSHOTS

    def make(self) -> None:
        """Make it, with its work folder. Raises NotOurs when a level above it is not private to this user,
        FileExistsError when it exists already, OSError."""
        self._root.mkdir(parents=True, exist_ok=True)
        folder = private.open_levels(self._root, self.path.parts[-_LEVELS:], make=True, fresh=True)
        try:
            os.mkdir(WORK, 0o777, dir_fd=folder)  # less the umask
        finally:
            os.close(folder)

    def open(self) -> int:
        """A descriptor of it; checks each level. Raises NotOurs, FileNotFoundError, OSError."""
        return private.open_levels(self._root, self.path.parts[-_LEVELS:])

    def lost(self) -> str | None:
        """Why this is no longer the directory that was made, in words; None while it is, or while that is unknown."""
        try:
            folder = self.open()
            try:
                os.close(untrusted.open_folder(self.work, folder))
            finally:
                os.close(folder)
        except FileNotFoundError:
            return f"{self.path if not self.path.is_dir() else self.work} is gone"
        except untrusted.Refused as problem:
            return f"{problem.filename} {problem.strerror}"
        except OSError:
            return None  # the disk or file server does not answer
        return None

    @property
    def _root(self) -> Path:
        return self.path.parents[_LEVELS - 1]

    def exit_record(self) -> dict[str, Any] | None:
        """The guardian's exit record; None when there is none, or when a guardian cannot have written it."""
        record = _read_json(self.path / process.EXIT)
        return record if record is not None and all(map(_is_plain, record.values())) else None

    def record(self) -> dict[str, Any] | None:
        return _read_json(self.path / process.RECORD)

    def policy(self) -> dict[str, Any] | None:
        """How its guardian confined the engine (`landlock.Policy`); None when the engine was not confined."""
        order = _read_json(self.path / process.COMMAND) or {}
        held = order.get("confinement")
        return held["policy"] if isinstance(held, dict) else None

    def guardian_identity(self) -> Identity | None:
        if self.known is not None:
            return self.known
        try:
            return Identity.from_dict((self.record() or {})["guardian"])
        except (LookupError, TypeError, ValueError):
            return None

    def guardian_lives(self) -> bool:
        """Whether a guardian lives: it holds the lock (visible across pid namespaces), or has not exited completely.

        A dying process releases its locks before its children are reparented; only a zombie has done both. One that
        lives on for what its task left, or for other attempts, has written the exit record and released the lock.
        """
        if self._locked():
            return True
        identity = self.guardian_identity()
        if identity is None or not process_tree.is_alive(identity):
            return False
        return self.exit_record() is None or not process_tree.may_outlive(identity.pid)

    def _locked(self) -> bool:
        try:
            descriptor = os.open(self.path / process.LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as problem:
            if problem.errno not in _IN_THE_WAY:
                raise
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
        """Prevent guardians from starting an engine. False when one lives already."""
        try:
            folder = self.open()
        except (FileNotFoundError, untrusted.Refused):
            return not self.guardian_lives()  # no guardian starts in such a directory, either
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            os.close(os.open(process.FENCED, flags, 0o666, dir_fd=folder))
        except OSError as problem:
            if problem.errno not in _IN_THE_WAY:  # any file of this name fences
                raise
        finally:
            os.close(folder)
        return not self.guardian_lives()

    def fence_if_dead(self) -> bool:
        """Fence the attempt unless a guardian lives. True when none lives and none can start."""
        if self.guardian_lives():
            return False
        return self.fence()


def make_log(path: Path) -> None:
    """Make the empty log of an attempt, in a folder of this user. Replaces other kinds of file. Raises LogProblem."""
    try:
        root, job = path.parent.parent, path.parent.name
        root.mkdir(parents=True, exist_ok=True)
        folder = private.open_levels(root, (job,), make=True)
        try:
            _make_file(path.name, folder)
        finally:
            os.close(folder)
    except OSError as problem:
        raise LogProblem(problem.errno, problem.strerror, str(path)) from problem


def _make_file(name: str, folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(name, flags, 0o666, dir_fd=folder))
    except FileExistsError:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)
            os.close(os.open(name, flags, 0o666, dir_fd=folder))


def log_objection(log: Path) -> str | None:
    """Why this is no longer a log, in words; None while it is, or while that is unknown."""
    try:
        untrusted.open_file(log).close()
    except FileNotFoundError:
        return f"{log} is gone"
    except untrusted.Refused as problem:
        return f"{log} {problem.strerror}"
    except OSError:
        return None
    return None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = untrusted.read_json(path)
    except (FileNotFoundError, NotADirectoryError, untrusted.Refused, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _is_plain(value: object) -> bool:
    """Whether an exit record may hold this value: not nested, and finite if a number."""
    return value is None or isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
