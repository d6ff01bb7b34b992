"""What this machine offers to a worker."""

from __future__ import annotations

import os

from qmrunner.model.packing import Capacity
from qmrunner.runtime.cgroup import cores_allowed, memory_limit_bytes
from qmrunner.settings import Settings


def capacity(settings: Settings) -> Capacity:
    """Slots, cores and memory (MiB) this worker may hand out: the least of machine, cgroup and settings."""
    cores = cores_allowed(settings.cores)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit_bytes()
    memory = min(total, limit) if limit else total
    usable = int(memory * 0.9) // 2**20  # the rest is for the daemon, the kernel and page cache
    return Capacity(
        slots=settings.slots or cores,
        cores=cores,
        memory_mib=min(usable, settings.memory_mib) if settings.memory_mib else usable,
    )
