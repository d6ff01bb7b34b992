"""The C library, and system calls by number for those that it does not wrap. Standard library only."""

from __future__ import annotations

import ctypes
import os
from functools import cache


@cache
def system_library() -> ctypes.CDLL:
    """The C library of this process. A spawner loads it once for all its guardians."""
    return ctypes.CDLL(None, use_errno=True)


def syscall(caller: str, number: int, *arguments: object) -> int:
    """The result of a system call. Raises OSError, whose message begins with the name of the `caller`."""
    result = int(system_library().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{caller}: {os.strerror(code)}")
    return result
