"""Files of the kernel in `/proc` and `/sys`. Standard library only: guardians use it."""

from __future__ import annotations

import os

_CHUNK_BYTES = 1 << 16


def content(path: str) -> bytes:
    """All of a file. Raises OSError.

    Three system calls and no objects: `open` of Python needs six calls, and guardians read such files all the time.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        read = os.read(descriptor, _CHUNK_BYTES)
        while more := os.read(descriptor, _CHUNK_BYTES):
            read += more
    finally:
        os.close(descriptor)
    return read
