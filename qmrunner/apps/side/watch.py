"""A descriptor that is readable when something changes in a folder: inotify(7), which Python has no module for."""

from __future__ import annotations

import ctypes
import os

_MODIFIED, _MOVED_IN, _CREATED = 0x2, 0x80, 0x100


def folder(path: str) -> int | None:
    """The descriptor; None where the kernel grants none, and the folder must be looked at instead."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _MODIFIED | _MOVED_IN | _CREATED) < 0:
        os.close(descriptor)
        return None
    return descriptor


def changed(descriptor: int) -> bool:
    """Whether something has changed since the last call."""
    seen = False
    while True:
        try:
            seen = bool(os.read(descriptor, 65536)) or seen
        except BlockingIOError:
            return seen
