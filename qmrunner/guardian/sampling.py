"""How much memory, shared memory and disk a process tree uses. Standard library only: guardians use it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from qmrunner.guardian.kernel_file import content

SHM = b"/dev/shm/"
_REMOVED = b" (deleted)"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DISK_FLOOR_BYTES = 1 << 20


def private_bytes(pids: Iterable[int]) -> int:
    """Private memory of these processes: resident pages minus file and shared pages (statm, proc(5))."""
    pages = 0
    for pid in pids:
        try:
            _, resident, shared = content(f"/proc/{pid}/statm").split()[:3]
        except (OSError, ValueError):
            continue  # it ended meanwhile
        pages += int(resident) - int(shared)
    return pages * _PAGE_BYTES


def shm_bytes(pids: Iterable[int]) -> int:
    """Size of the shared segments in /dev/shm that these processes map; each segment counts once.

    A file counts by its blocks. Open MPI removes the files of its windows once all ranks have mapped them (measured
    with 4.1.4): only their mapped length is visible.
    """
    files: set[bytes] = set()
    removed: dict[bytes, int] = {}
    for pid in pids:
        try:
            maps = content(f"/proc/{pid}/maps")
        except OSError:
            continue
        if SHM not in maps:
            continue
        mapped: dict[bytes, int] = {}
        for line in maps.splitlines():
            if SHM not in line:
                continue
            if not line.endswith(_REMOVED):
                files.add(line[line.index(SHM) :])
                continue
            span, _, _, device, inode, _ = line.split(None, 5)
            begin, _, end = span.partition(b"-")
            segment = device + inode
            mapped[segment] = mapped.get(segment, 0) + int(end, 16) - int(begin, 16)
        for segment, length in mapped.items():
            removed[segment] = max(length, removed.get(segment, 0))
    total = sum(removed.values())
    for name in files:
        try:
            total += os.stat(name).st_blocks * 512
        except OSError:
            continue  # removed meanwhile
    return total


def shm_free_bytes() -> int | None:
    """Free space of /dev/shm; None when it does not exist."""
    try:
        volume = os.statvfs(SHM)
    except OSError:
        return None
    return volume.f_bfree * volume.f_frsize


def tree_bytes(root: str) -> int:
    """Blocks of all files below a folder; links are not followed."""
    total = 0
    todo = [root]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
                    except OSError:
                        continue  # it was removed meanwhile
        except OSError:
            continue
    return total


def is_full(path: str) -> bool:
    """Whether the filesystem has practically no blocks or no inodes left."""
    try:
        volume = os.statvfs(path)
    except OSError:
        return False
    return volume.f_bavail * volume.f_frsize < _DISK_FLOOR_BYTES or (volume.f_files > 0 and volume.f_favail == 0)
