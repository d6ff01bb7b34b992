"""Processes that the supervisor inherited from a dead parent: reaps ended ones, ends the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from qmrunner import logs
from qmrunner.guardian import process_tree


class Orphans:
    """All children of this process except `own_pids`."""

    def __init__(self, own_pids: Callable[[], set[int]]) -> None:
        self._own_pids = own_pids

    def reap(self) -> None:
        """Collect zombies that no Popen owns, and end processes inherited from a dead guardian."""
        owned = self._own_pids()
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None or ended.si_pid in owned:
                break  # its own Popen collects it
            os.waitpid(ended.si_pid, os.WNOHANG)
        leftovers = self._leftovers()
        if leftovers:
            logs.get().warning("leftovers_ended", pids=leftovers)
            process_tree.end_subtrees(leftovers, self._leftovers, 5.0)

    def _leftovers(self) -> list[int]:
        return [pid for pid in self._children() if not _ends_by_itself(pid)]

    def _children(self) -> list[int]:
        owned = self._own_pids()
        return [pid for pid in process_tree.children_of(os.getpid()) if pid not in owned]

    def end_guardians(self, deadline: float) -> None:
        """End guardians that outlived consumer and spawner: TERM lets each end its tree; then KILL the rest."""
        for pid in self._children():
            identity = process_tree.identity_of(pid)
            if identity:
                process_tree.send(identity, signal.SIGTERM)
        while self._children() and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.02)
        rest = self._children()
        if rest:
            process_tree.end_subtrees(rest, self._children, 3.0)


def _ends_by_itself(pid: int) -> bool:
    """A guardian does with its attempt. The watcher of an app host ends the rest of the host's command first: without
    it the command would run on without a host."""
    stat = process_tree.stat_of(pid)
    return stat is None or stat.comm in (*process_tree.GUARDIAN_NAMES, process_tree.WATCHER_NAME) or stat.state in "ZX"
