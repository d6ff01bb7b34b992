"""What this machine offers to a worker: in total, and free now."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from qmrunner.guardian import cgroup, process_tree
from qmrunner.guardian.cgroup import cores_allowed, memory_limit_bytes
from qmrunner.host import batch_system
from qmrunner.model.app_names import label_of
from qmrunner.model.disk_space import FreeSpace, hard_mark_mib, shm_mark_mib, soft_mark_mib
from qmrunner.model.packing import Capacity
from qmrunner.settings import Settings

SHM = Path("/dev/shm")
# An attempt creates some hundred files and, with mpirun and its threads, some ten processes per core.
_LEAST_FILES = 500
_LEAST_TASKS = 64
_LEAST_STACK_MIB = 64
_NOT_SCARCE = 10_000  # a limit on the user's processes above which they are not counted: that reads all of /proc


class Volume:
    """One filesystem as an unprivileged user sees it. Raises OSError when the path does not exist."""

    def __init__(self, path: Path) -> None:
        found = os.statvfs(path)
        self.path = path
        self._device = os.stat(path).st_dev
        # f_bavail, not f_bfree: on a machine with a quota they differed by a factor of three (measured).
        self.free_mib = found.f_bavail * found.f_frsize // 2**20
        self.total_mib = (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize // 2**20
        self.free_files = found.f_favail if found.f_files else None

    @property
    def name(self) -> str:
        """The same for all workers that share the volume: boot id and device number."""
        return f"{process_tree.boot_id()} {self._device}"


def volume(path: Path) -> Volume | None:
    """None when the path does not exist."""
    try:
        return Volume(path)
    except OSError:
        return None


def capacity(settings: Settings) -> Capacity:
    """What this worker may grant: the minimum of machine, cgroups, batch job and settings, minus the reserves of the
    volumes."""
    cores = min(cores_allowed(settings.cores), batch_system.cores(os.environ) or sys.maxsize)
    memory = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), memory_limit() or sys.maxsize)
    usable = int(memory * 0.9) // 2**20  # the rest is for the daemon, the kernel and page cache
    scratch, shm = volume(settings.scratch_root), volume(SHM)
    return Capacity(
        slots=settings.slots or cores,
        cores=cores,
        memory_mib=min(usable, settings.memory_mib) if settings.memory_mib else usable,
        scratch_mib=scratch.total_mib - _floor_mib(scratch, settings) if scratch else None,
        shm_mib=shm.total_mib - shm_mark_mib(shm.total_mib) if shm else None,
        scratch_volume=scratch.name if scratch else None,
        shm_volume=shm.name if shm else None,
        labels=(*settings.labels, *(label_of(section.name) for section in settings.apps)),
    )


def memory_limit() -> int | None:
    """Bytes that this worker and its engines may use by cgroups and batch job; None when nothing limits them."""
    granted = batch_system.memory_mib(os.environ)
    limits = (memory_limit_bytes(), granted * 2**20 if granted else None)
    return min((limit for limit in limits if limit), default=None)


def _floor_mib(scratch: Volume, settings: Settings) -> int:
    return soft_mark_mib(scratch.total_mib, settings.scratch_soft_mib)


def room(settings: Settings, scratch: Volume | None = None) -> FreeSpace:
    """What is actually free now. `scratch`: its volume where the caller has already looked at it."""
    scratch, shm = scratch or volume(settings.scratch_root), volume(SHM)
    return FreeSpace(
        scratch_mib=scratch.free_mib - _floor_mib(scratch, settings) if scratch else None,
        shm_mib=shm.free_mib - shm_mark_mib(shm.total_mib) if shm else None,
        blocked=_blocked(settings, scratch),
    )


def _blocked(settings: Settings, scratch: Volume | None) -> str | None:
    """Why no step may start, whatever its demand."""
    left, user_left = cgroup.tasks_left(), user_tasks_left()
    if left is not None and left < _LEAST_TASKS:
        return f"processes: the container may have {left} more (--pids-limit)"
    if user_left is not None and user_left < _LEAST_TASKS:
        return f"processes: this user may have {user_left} more on this machine (ulimit -u)"
    if scratch and scratch.free_files is not None and scratch.free_files < _LEAST_FILES:
        return f"files: {scratch.free_files} inodes are free on {settings.scratch_root}"
    for path in (settings.home, settings.logs_root):
        found = volume(path)
        # Logs are preallocated and the store must be able to commit: both need free space.
        if found and found.free_mib < hard_mark_mib(found.total_mib):
            return f"disk: {found.free_mib} MiB are free on {path}"
    return None


def tasks_left() -> int | None:
    """How many more processes and threads the control groups and the user's limit allow; None: neither limits them."""
    return min((left for left in (cgroup.tasks_left(), user_tasks_left()) if left is not None), default=None)


def user_tasks_left() -> int | None:
    """How many more processes and threads `ulimit -u` allows this user; None without a limit that matters. The kernel
    counts all of the user on this machine, and does not hold the limit against root."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.geteuid() == 0 or limit == resource.RLIM_INFINITY or limit > _NOT_SCARCE:
        return None
    return limit - sum(_threads_of(name) for name in os.listdir("/proc") if name.isdigit())


def _threads_of(pid: str) -> int:
    """How many threads a process of this user has; 0 for those of others."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) if os.stat(f"/proc/{pid}").st_uid == os.geteuid() else 0
    except OSError:  # it has ended
        return 0


def stack_note() -> str | None:
    """A warning when the hard limit prevents the guardian from giving engines enough stack."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard == resource.RLIM_INFINITY or hard >= _LEAST_STACK_MIB * 2**20:
        return None
    return (
        f"stack: limited to {hard // 2**20} MiB, larger molecules may crash: run the container with --ulimit stack=-1"
    )
