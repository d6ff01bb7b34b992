"""The signals that stop the supervisor, as bytes to wait for beside its other descriptors."""

from __future__ import annotations

import os
import signal


def catch_signals() -> int:
    """A descriptor that gets a byte for each TERM, INT and CHLD; their numbers are the bytes."""
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    return out
