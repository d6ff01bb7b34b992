"""How much memory, shared memory and disk a process tree uses. Standard library only: guardians use it."""

from __future__ import annotations

import os
from collections.abc import Iterable

SHM = b"/dev/shm/"
_REMOVED = b" (deleted)"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DISK_FLOOR_BYTES = 1 << 20


def private_bytes(pids: Iterable[int]) -> int:
    """Memory that is theirs alone: resident pages less those of files and shared segments (statm, proc(5))."""
    pages = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                _, resident, shared = file.read().split()[:3]
        except (OSError, ValueError):
            continue  # it ended while we looked
        pages += int(resident) - int(shared)
    return pages * _PAGE_BYTES


def shm_bytes(pids: Iterable[int]) -> int:
    """Shared segments in /dev/shm that these processes map, each once.

    Of a file its blocks count. Open MPI removes the files of its windows once all ranks have them (measured with
    4.1.4): of those only the mapped length is to be seen.
    """
    files: set[bytes] = set()
    removed: dict[bytes, int] = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                maps = file.read()
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
            continue  # removed since
    return total


def shm_free_bytes() -> int | None:
    """Free space of /dev/shm; None where there is none."""
    try:
        found = os.statvfs(SHM)
    except OSError:
        return None
    return found.f_bfree * found.f_frsize


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
                        continue  # it went away while we looked
        except OSError:
            continue
    return total


def is_full(path: str) -> bool:
    """Whether the filesystem is as good as full, in blocks or in files."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _DISK_FLOOR_BYTES or (found.f_files > 0 and found.f_favail == 0)
