"""Selects the result files of a finished run: all files except those that are scratch by rule."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from qmrunner import untrusted

# Larger files, and more files than this, are left out with a note: reduce a trajectory of that size before copying it.
LARGEST_BYTES = 2 << 30
MOST_FILES = 1000
MOST_NOTES = 20
# Core images, qmrunner's partial files and temporary folder, and hidden files.
_NEVER = (".*", "core", "core.[0-9]*", "*.part", "tmp")


def results(directory: Path, inputs: Collection[str], scratch: Collection[str]) -> tuple[tuple[str, ...], list[str]]:
    """Names of the non-empty files in `directory`, and notes on files left out because of their size, and on folders.

    `inputs`, links, and files that match `scratch` are left out without a note.
    """
    kept: list[str] = []
    notes: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            name, found = entry.name, entry.stat(follow_symlinks=False)
            if name in inputs or not name.isprintable() or "\\" in name:  # a folder to Windows, in an archive
                continue
            if any(fnmatchcase(name, pattern) for pattern in (*_NEVER, *scratch)):
                continue
            if stat.S_ISDIR(found.st_mode):
                notes.append(f"folder {name} is not among the results: only files outside folders are")
            if not stat.S_ISREG(found.st_mode) or not found.st_size:
                continue
            if found.st_size > LARGEST_BYTES:
                notes.append(f"{name} is not among the results: it has {found.st_size >> 20} MiB, and files above "
                             f"{LARGEST_BYTES >> 20} MiB are left out")  # fmt: skip
            elif untrusted.is_hollow(found):
                notes.append(f"{name} is not among the results: nearly all of it was never written")
            else:
                kept.append(name)
    kept.sort()
    if len(notes) > MOST_NOTES:
        notes = [*sorted(notes)[:MOST_NOTES], f"{len(notes) - MOST_NOTES} more are not among the results"]
    if len(kept) > MOST_FILES:
        notes.append(f"the run left {len(kept)} files, of which the first {MOST_FILES} by name are among the results")
    return tuple(kept[:MOST_FILES]), sorted(notes)
