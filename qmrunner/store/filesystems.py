"""Where a SQLite file may live. WAL needs shared memory between its users and honest locks: one kernel, local disk.

Network and shared-folder filesystems are refused from `/proc/self/mountinfo`, before the file is opened: on some of
them the damage is silent (facts measured on virtiofs: malformed within a minute, no error raised).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qmrunner.errors import NotReadyError

UNSAFE = ("nfs", "cifs", "smb", "9p", "fuse", "virtiofs", "vboxsf", "prl_fs", "afs", "ceph", "lustre", "glusterfs")
VOLATILE = ("overlay", "tmpfs", "ramfs", "aufs")
# FUSE as a block-device driver of this kernel, not a share.
LOCAL_FUSE = ("fuseblk",)


@dataclass(frozen=True, slots=True)
class Mount:
    point: str
    kind: str


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """The mount that holds `path` (absolute, resolved): the longest mount point that is a prefix of it."""
    best: Mount | None = None
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        fields = left.split()
        if not dash or len(fields) < 5 or not right:
            continue
        point = _unescape(fields[4])
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        # A later line with an equal mount point covers the earlier one.
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(point, right.split()[0])
    return best


def refuse_unsafe(path: Path, mountinfo: str | None = None) -> Mount | None:
    """The mount of a database file. Raises NotReadyError when SQLite cannot be trusted there."""
    if mountinfo is None:
        mountinfo = Path("/proc/self/mountinfo").read_text()
    mount = mount_of(Path(os.path.realpath(path)), mountinfo)
    if mount and mount.kind.startswith(UNSAFE) and mount.kind not in LOCAL_FUSE:
        raise NotReadyError(
            "store_filesystem_unsafe",
            f"SQLite cannot be trusted on {mount.kind}: {path}",
            evidence=f"{mount.point} is mounted as {mount.kind}",
            remedy="set QMRUNNER_HOME to a local disk, or QMRUNNER_STORE_URL to a PostgreSQL server",
        )
    return mount


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
