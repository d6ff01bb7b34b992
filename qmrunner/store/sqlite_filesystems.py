"""Filesystems that are safe for a SQLite file. WAL needs memory shared by its users and working locks: one kernel, a
local disk.

Network and shared-folder filesystems are refused from `/proc/self/mountinfo`, before the file is opened: on some of
them the damage is silent (facts measured on virtiofs: malformed within a minute, no error raised).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qmrunner.errors import NotReadyError

UNSAFE = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse",
    "virtiofs",
    "vboxsf",
    "vmhgfs",
    "prl_fs",
    "afs",
    "ceph",
    "lustre",
    "glusterfs",
    "beegfs",
    "gpfs",
    "orangefs",
    "pvfs2",
    "panfs",
    "ocfs2",
    "gfs2",
)
VOLATILE = ("overlay", "tmpfs", "ramfs", "aufs")
# FUSE as a driver of a local block device, not a network share.
LOCAL_FUSE = ("fuseblk",)


@dataclass(frozen=True, slots=True)
class Mount:
    point: str
    kind: str
    number: str = ""
    parent: str = ""


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """The mount that holds `path` (absolute, resolved), found as the kernel does: down from the root, mount by mount.

    The longest mount point that is a prefix is not enough: it may be hidden below a later mount on a folder above it.
    """
    found = (_parse(line) for line in mountinfo.split("\n"))
    mounts = {mount.number: mount for mount in found if mount and path.is_relative_to(mount.point)}
    tops = [mount for mount in mounts.values() if mount.parent not in mounts]
    nearest = max(reversed(tops), key=lambda mount: len(mount.point), default=None)
    while nearest is not None:
        below = [mount for mount in mounts.values() if mount.parent == nearest.number != mount.number]
        if not below:
            break
        del mounts[nearest.number]
        # If two mounts have the same folder and parent, the later line hides the earlier.
        nearest = min(reversed(below), key=lambda mount: len(mount.point))
    return nearest


def refuse_unsafe(path: Path, mountinfo: str | None = None) -> Mount | None:
    """The mount of a database file. Raises NotReadyError if SQLite is not safe there."""
    if mountinfo is None:
        mountinfo = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    mount = mount_of(Path(os.path.realpath(path)), mountinfo)
    if mount and mount.kind.startswith(UNSAFE) and mount.kind not in LOCAL_FUSE:
        raise NotReadyError(
            "store_filesystem_unsafe",
            f"SQLite cannot be trusted on {mount.kind}: {path}",
            evidence=f"{mount.point} is mounted as {mount.kind}",
            remedy="set QMRUNNER_HOME to a local disk, or QMRUNNER_STORE_URL to a PostgreSQL server",
        )
    return mount


def _parse(line: str) -> Mount | None:
    """One line of mountinfo. Source: proc_pid_mountinfo(5): fields 1, 2, 5, and the first after the dash.

    A blank, tab or line feed in a name is escaped there; other white space is not.
    """
    left, dash, right = line.partition(" - ")
    fields = left.split(" ")
    if not dash or len(fields) < 5 or not right:
        return None
    return Mount(_unescape(fields[4]), right.split()[0], fields[0], fields[1])


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
