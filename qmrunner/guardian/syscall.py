"""System calls by number, for those that the C library does not wrap. Standard library only."""

from __future__ import annotations

import ctypes
import os


def syscall(caller: str, number: int, *arguments: object) -> int:
    """The result of a system call. Raises OSError, whose message begins with the name of the `caller`."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{caller}: {os.strerror(code)}")
    return result
