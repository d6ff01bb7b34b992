"""What is left of an attempt that was stopped to make room: what it can resume from, and small files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from qmrunner.engines.base import Engine
from qmrunner.host.remove_tree import remove_tree

_SMALL_BYTES = 64 << 10


def shrink(work: Path, engine: Engine, root: Path) -> list[str]:
    """Remove from a work folder below `root` what no later attempt can use. Returns what had to be left, with reasons.

    Files that the engine's checkpoint names, and small files, stay; snapshots lie elsewhere.
    """
    if root not in work.parents:
        return []
    try:
        folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as problem:
        return [f"{work}: {problem.strerror}"]
    try:
        return _thin(folder, work, set(engine.checkpoint(work)), root)
    finally:
        os.close(folder)


def _thin(folder: int, work: Path, kept: set[str], root: Path) -> list[str]:
    left: list[str] = []
    for name in sorted(set(os.listdir(folder)) - kept):
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                left += remove_tree(work / name, root)
            elif found.st_size > _SMALL_BYTES:
                os.unlink(name, dir_fd=folder)
        except OSError as problem:
            left.append(f"{name}: {problem.strerror}")
    return left
