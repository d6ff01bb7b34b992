"""A guardian after the end of its attempt, when the task left processes behind on purpose (`detach`).

It stays their subreaper until all have ended, or until the daemon ends: by SIGTERM in an orderly stop, and by its death
otherwise. Then it ends them as a guardian does. It holds nothing of the attempt any more. If it is killed, the app host
or the supervisor ends what it owned.
"""

from __future__ import annotations

import os
import select
import signal
import time

from qmrunner.guardian import process_tree

_KILL_EVERY_S = 0.02


def daemon() -> int | None:
    """A pidfd of the supervisor, the parent of this guardian's parent; None when it is gone."""
    host = process_tree.stat_of(os.getppid())
    if host is None:
        return None
    try:
        descriptor = os.pidfd_open(host.ppid)
    except OSError:
        return None
    again = process_tree.stat_of(host.pid)
    # The host's parent changes when the supervisor dies, and this process's when the host does.
    if again is None or again.ppid != host.ppid or os.getppid() != host.pid:
        os.close(descriptor)
        return None
    return descriptor


def keep(daemon: int, grace_s: float) -> None:
    """Return once no process is left. `daemon`: see above; `grace_s`: seconds from TERM to KILL."""
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)  # the guardian's handlers stay
    _let_go({out, into, daemon})
    poller = select.poll()
    for descriptor in (out, daemon):
        poller.register(descriptor, select.POLLIN)
    kill_at: float | None = None
    while _has_children():
        ready = [descriptor for descriptor, _ in poller.poll(_timeout_ms(kill_at))]
        stop = daemon in ready or (out in ready and signal.SIGTERM in os.read(out, 4096))
        if daemon in ready:
            poller.unregister(daemon)
        if stop and kill_at is None:
            process_tree.signal_tree(os.getpid(), signal.SIGTERM, signal.SIGCONT)
            kill_at = time.monotonic() + grace_s
        if kill_at is not None and time.monotonic() >= kill_at:
            process_tree.signal_tree(os.getpid(), signal.SIGKILL)


def _timeout_ms(kill_at: float | None) -> float | None:
    return None if kill_at is None else max(_KILL_EVERY_S, kill_at - time.monotonic()) * 1000


def _has_children() -> bool:
    """Collect ended children. False once there is none: ECHILD proves it."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _let_go(kept: set[int]) -> None:
    """Close what belongs to the attempt, its lock included, and to the application."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of the listing itself
    os.chdir("/")
