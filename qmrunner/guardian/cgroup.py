"""Limits and events of this process from its control groups: OOM kills, memory, CPU and process limits. v1 and v2.

Standard library only: guardians use it.
"""

from __future__ import annotations

import os
from functools import cache

from qmrunner.guardian.kernel_file import content

_ROOT = "/sys/fs/cgroup"
_OWN = "/proc/self/cgroup"


def _groups(controller: str) -> list[list[str]]:
    """Folders of this process's group, with their ancestors up to the mount: one list for each place where the
    controller may be mounted, the group itself first."""
    try:
        lines = [os.fsdecode(line) for line in content(_OWN).splitlines()]
    except OSError:
        lines = []
    chains = []
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", "", ""][:3]
        if not group:
            continue  # a sandbox that imitates the kernel may write something else
        if controllers == "":
            mounts = [_ROOT, f"{_ROOT}/unified"]
        elif controller in controllers.split(","):
            mounts = [f"{_ROOT}/{controller}", f"{_ROOT}/{controllers}"]
        else:
            continue
        # A group outside this cgroup namespace begins with "/..": its files are not mounted here.
        parts = [part for part in group.split("/") if part and part != ".."]
        for mount in mounts:
            chains.append(["/".join([mount, *parts[:count]]) for count in range(len(parts), -1, -1)])
    # Inside a container the group's own files are mounted at the root.
    return [*chains, [f"{_ROOT}/{controller}"], [_ROOT]]


def _text(path: str) -> str | None:
    try:
        return content(path).decode(errors="replace")
    except OSError:
        return None


def _limiting(controller: str) -> list[str]:
    """Every folder whose limits hold for this process: those of its group and of all ancestors."""
    return list(dict.fromkeys(folder for chain in _groups(controller) for folder in chain))


def oom_kills() -> int | None:
    """How many processes of this group the kernel has killed when memory ran out; None when it does not report that."""
    path = _oom_file(_ROOT, _text(_OWN) or "")
    return None if path is None else _oom_count(_text(path))


@cache  # two guardians of a group look in the same place: eleven files were tried at the start and end of each
def _oom_file(root: str, groups: str) -> str | None:
    """The file with the count, for a process with this `/proc/self/cgroup`."""
    for name in ("memory.events", "memory.oom_control"):
        paths = (f"{folder}/{name}" for chain in _groups("memory") for folder in chain)
        path = next((path for path in paths if _text(path) is not None), None)
        if path is not None and _oom_count(_text(path)) is not None:
            return path
    return None


def _oom_count(text: str | None) -> int | None:
    for line in (text or "").splitlines():
        word, _, number = line.partition(" ")
        if word == "oom_kill" and number.strip().isdigit():
            return int(number)
    return None


def oom_kills_all() -> bool:
    """Whether the kernel ends every process of this group, or of an ancestor, when one exceeds the limit: the kubelet
    from 1.28 on sets `memory.oom.group`."""
    return any(_number(_text(f"{folder}/memory.oom.group")) == 1 for folder in _limiting("memory"))


def memory_limit_bytes() -> int | None:
    """The least memory limit of the group and its ancestors, or None when there is none.

    A batch system limits an ancestor: Slurm the job, while its processes are in a step below it. `memory.high` counts
    as well: the kernel kills nothing there, but slows processes above it down until they hardly run.
    """
    found = []
    for folder in _limiting("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _number(_text(f"{folder}/{name}"))
            if limit is not None and limit < 1 << 60:
                found.append(limit)
    return min(found, default=None)


def cpu_quota() -> float | None:
    """The least CPU quota of the group and its ancestors in cores, or None when there is none."""
    return min((quota for folder in _limiting("cpu") if (quota := _quota(folder)) is not None), default=None)


def _quota(folder: str) -> float | None:
    text = _text(f"{folder}/cpu.max")
    if text is not None:
        words = text.partition(" ")
        quota, period = _number(words[0]), _number(words[2] or "100000")
    else:
        quota, period = (_number(_text(f"{folder}/cpu.cfs_{name}_us")) for name in ("quota", "period"))
    return quota / period if quota and period else None


def _number(text: str | None) -> int | None:
    """A count of bytes, microseconds or processes; None for `max`, -1 and everything else that is no such count."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def tasks_left() -> int | None:
    """How many more processes and threads this group and its ancestors allow; None when there is no limit."""
    found = []
    for folder in _limiting("pids"):
        limit, current = (_number(_text(f"{folder}/{name}")) for name in ("pids.max", "pids.current"))
        if limit is not None and current is not None:
            found.append(limit - current)
    return min(found, default=None)


def cores_allowed(setting: int | None = None) -> int:
    """Cores this process may use: the least of affinity, quota (rounded up) and setting."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    if quota is not None:
        cores = min(cores, max(1, -int(-quota // 1)))
    return cores if setting is None else max(1, min(cores, setting))
