"""The lock of a home: one daemon per home, known even across containers that share the volume."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qmrunner.errors import NotReadyError
from qmrunner.guardian import process_tree
from qmrunner.host.atomic_write import write_atomically

LOCK = "daemon.lock"
STATE_FILE = "state.json"  # the consumer's last report of its state
SUPERVISOR_FILE = "supervisor.json"


def app_file(run_root: Path, name: str) -> Path:
    """Where a daemon keeps what it knows about one of its applications."""
    return run_root / f"app-{name}.json"


def app_files(run_root: Path) -> list[Path]:
    return sorted(run_root.glob("app-*.json"))


def forget_apps(run_root: Path) -> None:
    """Remove what an earlier daemon knew: this one may run other applications."""
    for left in app_files(run_root):
        left.unlink(missing_ok=True)


def write_state(path: Path, state: Mapping[str, Any]) -> OSError | None:
    """Write a process's state file; return the error if it could not be written.

    On a full disk the old file's modification time is set to now: readers of that time see that the process lives.
    """
    try:
        write_atomically(path, json.dumps(state))
    except OSError as problem:
        with suppress(OSError):
            os.utime(path)
        return problem
    return None


def supervised(run_root: Path) -> set[int]:
    """Pids of the processes that the supervisor keeps running, by its last report."""
    try:
        children = json.loads((run_root / SUPERVISOR_FILE).read_text())["children"].values()
    except (OSError, ValueError, LookupError):
        return set()  # it has not reported yet
    return {child["pid"] for child in children if child["pid"] is not None}


def serves(run_root: Path, name: str) -> bool:
    """Whether the process lives that the supervisor keeps running to serve this socket, by its last report. Its command
    may only have begun to import what serves it."""
    try:
        report = json.loads((run_root / SUPERVISOR_FILE).read_text())
        supervisor, children = report["pid"], list(report["children"].values())
    except (OSError, ValueError, LookupError):
        return False
    pids = [child["pid"] for child in children if child.get("socket") == name and child["pid"] is not None]
    stats = map(process_tree.stat_of, pids)
    # A number that was given to another process since has another parent.
    return any(stat is not None and stat.state not in "ZX" and stat.ppid == supervisor for stat in stats)


NO_LOCKS = (
    "put QMRUNNER_HOME and QMRUNNER_SCRATCH on a local disk, or mount that filesystem with locks (Lustre: `-o flock`)"
)


class HomeLock:
    """Held by the supervisor while it lives; the kernel releases it with the process."""

    def __init__(self, run_root: Path) -> None:
        self._path = run_root / LOCK
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises NotReadyError that names the daemon holding the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = holder_of(self._path.parent)
            os.close(descriptor)
            raise NotReadyError(
                "home_in_use",
                f"another daemon runs on {self._path.parent.parent}",
                evidence=f"process {holder['pid']} holds {self._path}" if holder else str(self._path),
                remedy="stop that daemon, or give this one its own QMRUNNER_HOME",
            ) from None
        except OSError as problem:
            os.close(descriptor)
            raise NotReadyError(
                "locks_missing",
                f"files cannot be locked in {self._path.parent}",
                evidence=str(problem),
                remedy=NO_LOCKS,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(process_tree.myself().as_dict()).encode(), 0)
        self._descriptor = descriptor


def holder_of(run_root: Path) -> dict[str, Any] | None:
    """The identity of the daemon that holds this home; None when the lock is free."""
    try:
        descriptor = os.open(run_root / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            holder: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        except ValueError:
            return {"pid": None}  # it has just taken the lock
        return holder
    except OSError:
        return None  # no daemon starts where files cannot be locked
    else:
        return None
    finally:
        os.close(descriptor)
