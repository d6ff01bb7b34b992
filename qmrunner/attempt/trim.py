"""Trims an attempt that was stopped to free space: keeps small files and what it can resume from."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from qmrunner.engines.base import Engine
from qmrunner.host.remove_tree import remove_tree

_SMALL_BYTES = 64 << 10


def trim(work: Path, engine: Engine, root: Path) -> list[str]:
    """Remove files that no later attempt can use from a work folder below `root`. Returns what could not be removed.

    Keeps the engine's checkpoint files and small files; snapshots are in another folder.
    """
    if root not in work.parents:
        return []
    try:
        folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as problem:
        return [f"{work}: {problem.strerror}"]
    try:
        return _trim_folder(folder, work, set(engine.checkpoint(work)), root)
    finally:
        os.close(folder)


def _trim_folder(folder: int, work: Path, kept: set[str], root: Path) -> list[str]:
    left: list[str] = []
    for name in sorted(set(os.listdir(folder)) - kept):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                left += remove_tree(work / name, root)
            elif status.st_size > _SMALL_BYTES:
                os.unlink(name, dir_fd=folder)
        except OSError as problem:
            left.append(f"{name}: {problem.strerror}")
    return left
