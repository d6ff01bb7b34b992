"""A process that only keeps a SQLite file open.

The host closes its connection before each fork. When that is the last one of the machine, SQLite writes the log back
and deletes it, which took 30 to 60 ms for each task (measured).
"""

from __future__ import annotations

import os
import signal
import sqlite3

from qmrunner.guardian import process_tree

NAME = "qm-appkeeper"


def keep_open(path: str) -> int:
    """Fork the keeper. Returns its pid; it ends with this process."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        process_tree.die_with_parent()
        process_tree.name_process(NAME)
        os.setsid()
        _close_all()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        connection = sqlite3.connect(path)
        connection.execute("select 1 from sqlite_master").fetchall()  # a connection that has read nothing holds nothing
        while os.getppid() == parent:
            signal.pause()
    finally:
        os._exit(0)


def end(pid: int) -> None:
    """Before the host ends: the supervisor would report it as a process that was left."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it had died, and the host has collected it


def _close_all() -> None:
    """Close the host's sockets and pipes: a supervisor that waits for their end must not wait for this process."""
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of the listing itself
