"""Periodic measurement of what one guardian's tree uses. Standard library only: it runs beside every engine."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from typing import Any

from qmrunner.guardian import process_tree, sampling
from qmrunner.guardian.process_identity import Stat

_FIRST_S, _LAST_S = 0.25, 2.0
_GLANCE_S = 0.5  # the array of a shielding exists for about a second, less than the sample interval
_GROWN_BYTES = 1 << 20
_LISTED_PROCESSES = 256  # at most so many of a larger tree, so that a message stays one write
_WALK_LEAST_S = 1.0  # well below the last interval; else every other sample would miss the walk
_WALK_SHARE = 50
_MAPS_SHARE = 500  # reading all mappings may take this part of the time,
_GROWN_SHARE = 50  # and this part while /dev/shm grows: a segment may exist only briefly


class Usage:
    """Current and peak usage of the tree. MiB are 2**20 bytes.

    RSS counts shared pages once per process; memory is what belongs to one process alone, plus shm.
    """

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.rss_mib = 0.0
        self.peak_rss_mib = 0.0
        self.memory_mib = 0.0
        self.peak_memory_mib = 0.0
        self.shm_mib = 0.0
        self.peak_shm_mib = 0.0
        self.scratch_mib = 0.0
        self.peak_scratch_mib = 0.0
        self.processes = 0
        self.disk_full = False  # a volume that the attempt writes to was full
        self.logs_full = False  # the log's volume, and not the folder's

    def as_dict(self) -> dict[str, Any]:
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in vars(self).items()}


class Meter:
    """Samples the descendants of this process: often at first, less often when a sample is expensive.

    Between samples it checks the free space of /dev/shm with one system call: when that shrinks, for whatever reason, a
    sample is due at once. Times are monotonic seconds; the first sample comes after `first_s`. `living` is (pid, name,
    state, CPU seconds) of each process at the last sample. Scratch is the content of `folder` and of the snapshots
    `beside` it.
    """

    def __init__(self, folder: str, log: str, beside: str | None = None, first_s: float = 0.0) -> None:
        self.usage = Usage()
        self._before_s = 0.0
        self.living: list[tuple[int, str, str, float]] = []
        self.sampled_at = 0.0
        self.next_due = time.monotonic() + first_s
        self._folder, self._log = folder, log
        self._scratch = [folder] + ([beside] if beside else [])
        self._every = _FIRST_S
        self._next_sample = self.next_due
        self._shm_free: int | None = None
        self._scratch_was_full = self._logs_were_full = False
        self._next_walk = 0.0
        self._maps_at = self._maps_cost_s = 0.0
        self._grown = False

    def count_from_now(self) -> None:
        """Do not count what the tree has used before."""
        self._count(process_tree.descendants(os.getpid()))
        self._before_s, self.usage = self.usage.cpu_s, Usage()

    def is_due(self, now: float) -> bool:
        """Whether to sample now; checks /dev/shm when that is due. Call again at `next_due`."""
        if now >= self._next_sample:
            return True
        if now < self.next_due:
            return False
        self.next_due = min(self._next_sample, now + _GLANCE_S)
        free, before = sampling.shm_free_bytes(), self._shm_free
        if free is None or before is None:
            return False
        self._shm_free = max(free, before)  # so that space freed and used again is noticed, too
        self._grown = before - free > _GROWN_BYTES
        return self._grown

    def sample(self) -> bool:
        """Measure now. Returns whether scratch was measured, too."""
        now = time.monotonic()
        stats = process_tree.descendants(os.getpid())
        self._count(stats)
        self._weigh([stat.pid for stat in stats], now)
        walked = now >= self._next_walk
        if walked:
            self._walk(now)
        self._check_disks()
        self._every = min(_LAST_S, self._every * 1.5)
        self.sampled_at, self._next_sample = now, now + self._every
        self.next_due = min(self._next_sample, now + _GLANCE_S)
        living = [stat for stat in stats if stat.state not in "ZX"][:_LISTED_PROCESSES]
        self.living = [
            (stat.pid, stat.comm, stat.state, (stat.utime + stat.stime) / process_tree.TICKS_PER_SECOND)
            for stat in living
        ]
        return walked

    def sample_last(self) -> None:
        """Measure once the tree is empty: usage of the ended processes, and files."""
        self._count([])
        self._walk(time.monotonic())
        self._check_disks()

    def _count(self, stats: Sequence[Stat]) -> None:
        usage = self.usage
        ticks = sum(stat.utime + stat.stime + stat.cutime + stat.cstime for stat in stats)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s = ticks / process_tree.TICKS_PER_SECOND + ended.ru_utime + ended.ru_stime
        usage.cpu_s = max(usage.cpu_s, used_s - self._before_s)
        usage.rss_mib = sum(stat.rss_pages for stat in stats) * process_tree.PAGE_BYTES / 2**20
        usage.peak_rss_mib = max(usage.peak_rss_mib, usage.rss_mib, ended.ru_maxrss / 1024)
        usage.processes = sum(stat.state not in "ZX" for stat in stats)

    def _weigh(self, pids: list[int], now: float) -> None:
        usage = self.usage
        if now >= self._maps_at + self._maps_cost_s * (_GROWN_SHARE if self._grown else _MAPS_SHARE):
            began = time.thread_time()
            self._shm_free = sampling.shm_free_bytes()
            usage.shm_mib = sampling.shm_bytes(pids) / 2**20
            usage.peak_shm_mib = max(usage.peak_shm_mib, usage.shm_mib)
            self._maps_at, self._maps_cost_s, self._grown = now, time.thread_time() - began, False
        usage.memory_mib = sampling.private_bytes(pids) / 2**20 + usage.shm_mib
        usage.peak_memory_mib = max(usage.peak_memory_mib, usage.memory_mib)

    def _walk(self, since: float) -> None:
        usage = self.usage
        usage.scratch_mib = sum(map(sampling.tree_bytes, self._scratch)) / 2**20
        usage.peak_scratch_mib = max(usage.peak_scratch_mib, usage.scratch_mib)
        ended = time.monotonic()
        self._next_walk = ended + max(_WALK_LEAST_S, _WALK_SHARE * (ended - since))

    def _check_disks(self) -> None:
        self._scratch_was_full = self._scratch_was_full or sampling.is_full(self._folder)
        self._logs_were_full = self._logs_were_full or sampling.is_full(self._log)
        self.usage.disk_full = self._scratch_was_full or self._logs_were_full
        self.usage.logs_full = self._logs_were_full and not self._scratch_was_full
