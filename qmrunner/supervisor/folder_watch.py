"""Waiting until files in some folders change: inotify(7), and a fixed interval where the kernel refuses it."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Iterable
from pathlib import Path

from qmrunner.guardian.syscall import system_library

# <sys/inotify.h>; the flags of `inotify_init1` are those of `open`.
_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_BLIND_S = 0.25
_READ_BYTES = 1 << 16


class FolderWatch:
    """`wait` returns when a file in one of the folders was written, created or renamed, or after `wake`."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._out, self._into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._changes = _watched(folders)
        self._poller = select.poll()
        for descriptor in (self._out, self._changes):
            if descriptor is not None:
                self._poller.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Until something changed since the last call, but at most so long."""
        most = seconds if self._changes is not None else min(seconds, _BLIND_S)
        for descriptor, _ in self._poller.poll(most * 1000):
            try:
                os.read(descriptor, _READ_BYTES)  # which file it was is of no interest
            except BlockingIOError:
                continue

    def wake(self) -> None:
        try:
            os.write(self._into, b"x")
        except BlockingIOError:
            pass  # the pipe is full of earlier ones


def _watched(folders: Iterable[Path]) -> int | None:
    """An inotify descriptor on these folders; None if one cannot be watched: too many watches, or no inotify."""
    library = system_library()
    descriptor = int(library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    if descriptor < 0:
        return None
    for folder in folders:
        mask = ctypes.c_uint32(_MODIFY | _MOVED_TO | _CREATE)
        if library.inotify_add_watch(descriptor, os.fsencode(folder), mask) < 0:
            os.close(descriptor)
            return None
    return descriptor
