"""Private folders: checks of the owner and the write permissions of each level of a path.

A user who may write to a folder controls its contents, including an attempt's command. Roots are checked when the
daemon or a command starts; the levels below them are checked each time, by descriptor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qmrunner import untrusted
from qmrunner.errors import NotReadyError

ACCESS = ("off", "read", "write")
_UMASKS = {"off": 0o077, "read": 0o027, "write": 0o007}
_NOBODY_FILE, _MAP_FILE = Path("/proc/sys/kernel/overflowuid"), Path("/proc/self/uid_map")
_ALL_IDS = 2**32 - 1
_MADE = (
    *("run", "jobs", "scratch", "logs", "qmrunner.env", "home.id", "ballast"),
    *(f"{name}.db{ending}" for name in ("store", "queue") for ending in ("", "-wal", "-shm")),
)
# O_PATH: to close another descriptor of a database would drop this process's locks on it (fcntl(2)).
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_outer: int | None = None
_own = -1


class NotOurs(untrusted.Refused):
    """A level of a path is not a private folder of this user."""


def umask_of(access: str) -> int:
    """The umask under which all files of an installation are made. `access` is a word of `ACCESS`."""
    return _UMASKS[access]


def restrict(access: str) -> None:
    """Make all new files of this process private, whatever umask it was started with."""
    global _outer, _own
    _own = umask_of(access)
    before = os.umask(_own)
    _outer = before if _outer is None else _outer


def umasks() -> tuple[int, int]:
    """The umask of this installation's files, and the one with which this process was started; -1: unchanged."""
    return _own, -1 if _outer is None else _outer


@contextmanager
def as_started() -> Iterator[None]:
    """For files that belong to the caller and not to the installation: use the umask with which this process was
    started."""
    if _outer is None:
        yield
        return
    now = os.umask(_outer)
    try:
        yield
    finally:
        os.umask(now)


def close_to_others(home: Path, access: str) -> None:
    """Remove permissions of other users that an earlier umask left on folders and files of a home."""
    mask = umask_of(access)
    for name in _MADE:
        try:
            descriptor = os.open(home / name, _LOOK)
        except OSError:
            continue  # missing, or being removed
        try:
            seen = os.fstat(descriptor)
            plain = stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode)
            if plain and seen.st_uid == os.geteuid() and seen.st_mode & mask:
                os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IMODE(seen.st_mode) & ~mask)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Trust:
    """The users who may own a folder and write to it, in addition to this user and root. With group access: members of
    its group, if this process is a member."""

    uid: int
    groups: frozenset[int] = frozenset()

    @classmethod
    def of(cls, access: str) -> Trust:
        """The rule for this process and a word of `ACCESS`."""
        groups = frozenset({os.getegid(), *os.getgroups()}) if access == "write" else frozenset[int]()
        return cls(os.geteuid(), groups)

    def objection(self, found: os.stat_result) -> str | None:
        """Why a folder with this status is not private; None if it is."""
        ours = found.st_gid in self.groups
        if found.st_uid not in (0, self.uid) and not ours:
            return f"it belongs to user id {found.st_uid}, and this is {self.uid}"
        if found.st_mode & stat.S_IWOTH:
            return f"all users may write to it (mode {stat.S_IMODE(found.st_mode):o})"
        alone = found.st_gid in (0, self.uid)  # a user's own group has the user's number
        if found.st_mode & stat.S_IWGRP and not ours and not alone:
            return f"group {found.st_gid} may write to it (mode {stat.S_IMODE(found.st_mode):o})"
        return None

    def objection_above(self, found: os.stat_result) -> str | None:
        """The same for a folder above a root: only the right to replace a root by another folder matters there."""
        if found.st_uid not in (0, self.uid, _unknown_owner()) and found.st_gid not in self.groups:
            return f"it belongs to user id {found.st_uid}, and this is {self.uid}"
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            return f"all users may put other folders there (mode {stat.S_IMODE(found.st_mode):o})"
        return None


def private_root(path: Path) -> Path:
    """The folder of our files for a configured root: `path` itself, or, if all users of a machine share it (a sticky
    folder such as /tmp or /scratch), a private folder below it."""
    try:
        found = os.stat(path)
    except OSError:
        return path
    shared = found.st_mode & stat.S_IWOTH and found.st_mode & stat.S_ISVTX
    return path / f"qmrunner-{os.geteuid()}" if shared else path


def make_root(path: Path, access: str, setting: str) -> None:
    """Create a root folder if it is missing, and check it and all folders above it.

    `setting` is the variable that names it. Raises NotReadyError `folder_not_private`, OSError when it cannot be made.
    """
    path.mkdir(parents=True, exist_ok=True)
    found = os.stat(path)
    if _is_new(path, found):
        os.chmod(path, stat.S_IMODE(found.st_mode) & ~umask_of(access) & ~stat.S_ISVTX)
    if (refused := refusal(path, access, setting)) is not None:
        raise refused


def refusal(path: Path, access: str, setting: str) -> NotReadyError | None:
    """The error `folder_not_private` with which `make_root` refuses this root; None if it accepts it. Creates and
    changes nothing."""
    trust = Trust.of(access)
    place = Path(os.path.realpath(path))
    for level in (*reversed(place.parents), place):
        try:
            found = os.lstat(level)
        except OSError:
            return None  # what is missing is created private; what cannot be reached fails to be created
        if level == place and _is_new(path, found):
            return None
        why = trust.objection(found) if level == place else trust.objection_above(found)
        if why is None and not stat.S_ISDIR(found.st_mode):
            why = "it is not a folder"
        if why is not None:
            return _not_private(path, level, why, found, access, setting)
    return None


def check_own(path: Path, access: str, setting: str) -> None:
    """Raise NotReadyError `folder_not_private` for a file that another user owns or may write to, and for a link."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    why = "it is not a file" if not stat.S_ISREG(found.st_mode) else Trust.of(access).objection(found)
    if why is not None:
        raise _not_private(path, path, why, found, access, setting)


def _is_new(path: Path, found: os.stat_result) -> bool:
    """Whether this is a folder of this user that is open to all and still empty, like a new volume: no program uses it
    yet, so it can be made private."""
    return found.st_uid == os.geteuid() and bool(found.st_mode & stat.S_IWOTH) and not os.listdir(path)


def _not_private(path: Path, level: Path, why: str, found: os.stat_result, access: str, setting: str) -> NotReadyError:
    uid = os.geteuid()
    remedy = f"set {setting} to a private folder (`mkdir -m 700 …`)"
    if level == path and found.st_uid == uid:
        remedy = f"run `chmod go-w {path}`, or {remedy}"
        if found.st_mode & stat.S_IWGRP and not found.st_mode & stat.S_IWOTH and access != "write":
            remedy += "; if the whole group is trusted, set QMRUNNER_GROUP_ACCESS=write"
    elif level == path:
        remedy = f"run `chown -R {uid} {path}` and `chmod go-w {path}`, or {remedy}"
    return NotReadyError(
        "folder_not_private",
        f"{path} is not safe from other users: a program that they put there would run as this user",
        evidence=f"{level}: {why}",
        remedy=remedy,
    )


def open_levels(root: Path, levels: Sequence[str], *, make: bool = False, fresh: bool = False) -> int:
    """A descriptor of the folder `root/levels`, each level opened and checked relative to the one above.

    A level must not be more open than the root, and must belong to this user, to root or to the root's owner. With
    `make` missing ones are created, and with `fresh` the last one must be made by this call. Raises NotOurs,
    FileExistsError, OSError.
    """
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        top = os.fstat(at)
        path = root
        for number, name in enumerate(levels, 1):
            path = path / name
            if make:
                _make(at, name, must=fresh and number == len(levels))
            inner = untrusted.open_folder(path, at)
            os.close(at)
            at = inner
            if why := _level_objection(os.fstat(at), top):
                raise NotOurs(1, why, str(path))
    except BaseException:
        os.close(at)
        raise
    return at


def _make(at: int, name: str, *, must: bool) -> None:
    try:
        os.mkdir(name, 0o777, dir_fd=at)  # less the umask
    except FileExistsError:
        if must:
            raise


def _level_objection(found: os.stat_result, top: os.stat_result) -> str | None:
    if found.st_uid not in (0, os.geteuid(), top.st_uid):
        return f"belongs to user id {found.st_uid}"
    if found.st_mode & ~top.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):o})"
    return None


def _unknown_owner() -> int:
    """The user id that represents all users unknown to a user namespace; -1 if it knows all."""
    try:
        known = sum(int(line.split()[2]) for line in _MAP_FILE.read_text().splitlines())
        return int(_NOBODY_FILE.read_text()) if known < _ALL_IDS else -1
    except (OSError, ValueError, IndexError):
        return -1
