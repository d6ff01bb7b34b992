"""Looks at the processes of the application, 20 a second: which engines live, and to which attempt they belong."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from qmrunner.guardian import process_tree

_EVERY_S = 0.05
_ENGINES = ("mpirun", "orted", "nwchem", "xtb", "crest")
_ROOTS = ("mpirun", "crest")
Found = dict[tuple[int, int], tuple[str, str]]  # pid and start: name and attempt


def engines(folder: Path) -> Found:
    """Living engines in the application's folder. The attempt is in the environment that they inherited."""
    found: Found = {}
    for pid in process_tree.all_pids():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if not name.startswith(_ENGINES):
                continue
            inside = Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder)
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile
        stat = process_tree.stat_of(pid)
        if inside and stat is not None and stat.state not in "ZX":
            prefix = f"{process_tree.MARKER}=".encode()
            marker = next((one[len(prefix) :].decode() for one in variables if one.startswith(prefix)), "")
            found[pid, stat.start_ticks] = (name, marker)
    return found


def alive(processes: Found) -> Found:
    """Those of these that still run."""
    found: Found = {}
    for (pid, start), what in processes.items():
        stat = process_tree.stat_of(pid)
        if stat is not None and stat.start_ticks == start and stat.state not in "ZX":
            found[pid, start] = what
    return found


def _is_child(process: tuple[int, int], now: Found) -> bool:
    """Whether this is a rank that mpirun has forked, and that has the name of mpirun until it executes the program."""
    stat = process_tree.stat_of(process[0])
    return stat is None or any(pid == stat.ppid and name == "mpirun" for (pid, _), (name, _) in now.items())


class Looks:
    """`most`: the most engine trees seen at once. `mixed`: the most attempts whose engines were seen at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.now: Found = {}
        self.started: dict[tuple[int, int], float] = {}  # every mpirun or crest, with the time of the first look at it
        self.most = self.mixed = self.count = 0

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.now = now = engines(self._folder)
            roots = [process for process, (name, _) in now.items() if name in _ROOTS and not _is_child(process, now)]
            for process in roots:
                self.started.setdefault(process, time.monotonic())
            self.most = max(self.most, len(roots))
            self.mixed = max(self.mixed, len({marker for _, marker in now.values()}))
            self.count += 1

    def __enter__(self) -> Looks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
