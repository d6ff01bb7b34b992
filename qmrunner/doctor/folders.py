"""Checks of folders and filesystems: writable, owner, size, and whether they persist."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qmrunner import private
from qmrunner.doctor.finding import Finding, fail, ok, warn
from qmrunner.doctor.machine import Space
from qmrunner.host.home import NO_LOCKS
from qmrunner.model.disk_space import soft_mark_mib
from qmrunner.model.wait_reasons import size
from qmrunner.store.sqlite_filesystems import VOLATILE, refuse_unsafe

_SCRATCH_MIB, _SCRATCH_LEAST_MIB = 2048, 64
_FILES, _FILES_LEAST = 10_000, 200
_MEMORY_FILESYSTEMS = ("tmpfs", "ramfs")
# A path of 3,020 characters works with Open MPI 4.1.4 (measured). Others may bind sockets below TMPDIR: 107 characters.
_LONGEST_PATH, _LONGEST_SOCKET_PATH = 3000, 107
_TRIAL = ".qmrunner-trial"
_LOCKED = ("home", "run", "scratch")  # daemons, guardians and the schema hold locks there


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of a write test in a folder. `step` is the operation that failed: write, fsync, read, rename or unlink;
    None when all worked. `unlocked`: why files cannot be locked there; None where they can."""

    folder: Path
    step: str | None = None
    number: int | None = None
    words: str | None = None
    unlocked: str | None = None


def existing(path: Path) -> Path:
    """`path`, or the nearest parent folder that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def try_folder(folder: Path) -> Trial:
    """Write, sync, read back, rename and unlink a small file. Nothing is left, unless unlinking itself fails."""
    # Not the process id: on a volume shared by containers every daemon is process 1.
    name = folder / f"{_TRIAL}-{os.urandom(8).hex()}"
    moved = name.with_name(f"{name.name}-2")
    step, unlocked = "write", None
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"x" * 4096)
            step = "fsync"
            os.fsync(descriptor)
            step = "read"
            if os.pread(descriptor, 8192, 0) != b"x" * 4096:
                return Trial(folder, step, None, "the bytes read differ from those written")
            unlocked = _lock_problem(descriptor)
        finally:
            os.close(descriptor)
        step = "rename"
        os.rename(name, moved)
        step = "unlink"
        os.unlink(moved)
    except OSError as problem:
        return Trial(folder, step, problem.errno, problem.strerror or str(problem))
    finally:
        for left in (name, moved):
            if os.path.lexists(left):
                _unlink(left)
    return Trial(folder, unlocked=unlocked)


def _lock_problem(descriptor: int) -> str | None:
    """Lustre without its option `flock`, NFS without a lock daemon and some FUSE filesystems refuse locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        return problem.strerror or str(problem)
    return None


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the trial has reported why


def folder(name: str, path: Path, trial: Trial, owner: tuple[int, int] | None) -> Finding:
    """One data folder. `owner` is uid and gid of the folder that was tried."""
    new = trial.folder != path
    data = {"path": str(path), "tried": str(trial.folder), "owner": None if owner is None else list(owner)}
    where = f"{path} (does not exist yet; will be created in {trial.folder})" if new else str(path)
    if trial.step is None and trial.unlocked is not None and name in _LOCKED:
        text = f"{where}: files cannot be locked there: {trial.unlocked}"
        return fail(name, "locks_missing", text, NO_LOCKS, **data)
    if trial.step is None:
        return ok(name, f"{where}: write, fsync, rename and unlink work", **data)
    text = f"{where}: {trial.step} failed: {trial.words}"
    return fail(name, "home_unwritable", text, _cure(trial, owner), **data)


def _cure(trial: Trial, owner: tuple[int, int] | None) -> str:
    me = f"{os.geteuid()}:{os.getegid()}"
    if trial.number in (errno.EACCES, errno.EPERM):
        whose = f"the folder belongs to {owner[0]}:{owner[1]} and qmrunner runs as {me}: " if owner else ""
        return f"{whose}run `chown -R {me} {trial.folder}` as root"
    if trial.number == errno.EROFS:
        return "mount that filesystem writable"
    if trial.number in (errno.ENOSPC, errno.EDQUOT):
        return "free space on that filesystem, or enlarge it"
    if trial.number == errno.ENOTDIR:
        return "a file has the name of a folder: remove it, or set QMRUNNER_HOME or the setting of that folder"
    return "choose a folder on a local disk (QMRUNNER_HOME, QMRUNNER_SCRATCH, QMRUNNER_JOBS, QMRUNNER_LOGS)"


def owners(paths: Iterable[tuple[Path, int, int, bool]], uid: int, gid: int) -> Finding:
    """Ownership: (path, uid, gid, writable for us) of each folder and of the shared files."""
    entries = list(paths)
    unwritable = [(path, f"{u}:{g}") for path, u, g, writable in entries if not writable]
    foreign = [(path, u, g) for path, u, g, _ in entries if u != uid]
    data = {"uid": uid, "gid": gid, "foreign": [str(path) for path, *_ in foreign]}
    if unwritable:
        names = ", ".join(f"{path} ({whose})" for path, whose in unwritable[:3])
        return fail(
            "owner", "owner_wrong", f"not writable for {uid}:{gid}: {names}" + _more(unwritable),
            f"run `chown -R {uid}:{gid} {' '.join(str(path) for path, _ in unwritable[:3])}` as root", **data,
        )  # fmt: skip
    if foreign:
        path, u, g = foreign[0]
        remedy = f"run qmrunner as that user (`docker run -u {u}:{g}`), or `chown -R {uid}:{gid} {path}`"
        text = f"{path} belongs to {u}:{g}, but qmrunner runs as {uid}:{gid}" + _more(foreign, 1)
        return warn("owner", "owner_foreign", text, remedy, **data)
    return ok("owner", f"all files belong to user id {uid}" if entries else "no files yet", **data)


def privacy(roots: Iterable[tuple[str, Path]], access: str) -> Finding:
    """Whether other users could put programs or data into a root: (setting that names it, path) of each."""
    refused = [found for setting, path in roots if (found := private.refusal(path, access, setting)) is not None]
    if refused:
        first = refused[0]
        return fail("private", first.code, f"{first.message}: {first.evidence}", first.remedy or "")
    return ok("private", "no other user may write to a folder of qmrunner, or replace one")


def _more(things: list[tuple[Path, str]] | list[tuple[Path, int, int]], shown: int = 3) -> str:
    return f" and {len(things) - shown} more" if len(things) > shown else ""


def scratch(path: Path, space: Space | None, kind: str | None, mark_setting_mib: int | None = None) -> Finding:
    """The scratch filesystem: free space, free inodes, and whether its kind is suitable.

    `mark_setting_mib` is QMRUNNER_SCRATCH_SOFT_MIB: with less free space a worker starts no step.
    """
    if space is None:
        return fail("scratch_space", "scratch_missing", f"{path} cannot be read", "set QMRUNNER_SCRATCH")
    data = {"free_mib": space.free_mib, "total_mib": space.total_mib, "files_free": space.files_free, "kind": kind}
    text = f"{size(space.free_mib)} of {size(space.total_mib)} free ({kind or 'unknown filesystem'})"
    files = space.files_free
    larger = "free space, or set QMRUNNER_SCRATCH to a larger disk"
    if space.free_mib < _SCRATCH_LEAST_MIB or (files is not None and files < _FILES_LEAST):
        no_files = files is not None and files < _FILES_LEAST
        return fail("scratch_space", "scratch_full", f"{text}, {files} files" if no_files else text, larger, **data)
    mark = soft_mark_mib(space.total_mib, mark_setting_mib)
    if space.free_mib < mark:
        text = f"{text}: no step starts below {size(mark)}"
        return fail("scratch_space", "scratch_low", text, f"{larger}, or lower QMRUNNER_SCRATCH_SOFT_MIB", **data)
    if space.free_mib < _SCRATCH_MIB:
        return warn("scratch_space", "scratch_small", f"{text}: enough for small molecules only", larger, **data)
    if files is not None and files < _FILES:
        return warn(
            "scratch_space", "scratch_files", f"{text}, but only {files} more files can be created", larger, **data
        )
    if kind in _MEMORY_FILESYSTEMS:
        return warn(
            "scratch_space", "scratch_in_memory", f"{text}: files there use memory",
            "set QMRUNNER_SCRATCH to a disk, or leave room for these files below the memory limit", **data,
        )  # fmt: skip
    if kind is not None and kind.startswith(("nfs", "cifs", "smb", "fuse", "9p", "virtiofs")) and kind != "fuseblk":
        return warn("scratch_space", "scratch_slow", f"{text}: a network share", "use a local disk", **data)
    return ok("scratch_space", text, **data)


def path_length(longest: Path, flavour: str | None) -> Finding:
    """The longest TMPDIR of an attempt. `flavour` is that of the launcher, None when there is none."""
    length = len(str(longest))
    data = {"length": length}
    limit = _LONGEST_SOCKET_PATH if flavour not in (None, "openmpi4") else _LONGEST_PATH
    if length > limit:
        return warn(
            "path_length", "path_too_long", f"TMPDIR of attempts has {length} characters, {flavour or 'MPI'} may allow "
            f"at most {limit}", "set QMRUNNER_SCRATCH to a short path", **data,
        )  # fmt: skip
    return ok("path_length", f"TMPDIR of attempts has {length} characters", **data)


def store_place(path: Path | None, mountinfo: str) -> Finding:
    """The filesystem of a SQLite store; raises NotReadyError where SQLite cannot be trusted. None: a server."""
    if path is None:
        return ok("store_filesystem", "the store is on a server")
    mount = refuse_unsafe(path, mountinfo)
    kind = mount.kind if mount else None
    if kind in VOLATILE:
        return warn(
            "store_filesystem", "store_volatile", f"{path} is on {kind}, lost with the container or at a reboot",
            "put QMRUNNER_HOME on a volume", kind=kind,
        )  # fmt: skip
    return ok("store_filesystem", f"{kind or 'unknown'}, suitable for SQLite", kind=kind)
