"""What a task has from the process that imported the application, and a guardian or a fork takes away.

Huey's workers are that process, or forks of it: they have its folder, its umask, its handlers of signals, and Python's
own. A guardian gives every engine the default handlers, the folder of the daemon, and the umask of the home's files.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import Any

from qmrunner.apps.side import originals

_FOLDER: list[str] = []
_UMASK: list[int] = []
_HANDLERS: dict[int, Any] = {}


def remember() -> None:
    """Called once the application is imported."""
    _FOLDER[:] = [os.getcwd()]
    _UMASK[:] = [os.umask(0o077)]
    os.umask(_UMASK[0])
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if handler is not None:  # None: installed by C code
            _HANDLERS[number] = handler


def restore() -> None:
    """In the process that runs tasks."""
    enter_folder()
    restore_umask()
    for number, handler in _HANDLERS.items():
        if handler != signal.getsignal(number):
            try:
                signal.signal(number, handler)
            except (OSError, ValueError):
                continue  # KILL and STOP
    originals.restart_gevent()
    atexit._clear()  # what the import registered is for the end of the host
    _seed()


def make_private(umask: int) -> None:
    """In a guardian: what it writes belongs to the home. -1: unchanged."""
    if umask >= 0:
        os.umask(umask)


def restore_umask() -> None:
    os.umask(_UMASK[0])


def enter_folder() -> None:
    os.chdir(_FOLDER[0])


def descriptors() -> set[int]:
    """Open descriptors, without that of the listing."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue
        found.add(int(name))
    return found


def _seed() -> None:
    """Python seeds `random` after a fork. Without this, each task would draw the same numbers from the generators of
    these libraries, where a worker of Huey draws the next ones."""
    for module in ("numpy.random", "torch"):
        seed = getattr(sys.modules.get(module), "seed", None)
        if seed is not None:
            seed()
