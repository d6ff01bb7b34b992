"""Limits and events of this process from its control groups: OOM kills, memory, CPU and process limits. v1 and v2.

Standard library only: guardians use it.
"""

from __future__ import annotations

import os

_ROOT = "/sys/fs/cgroup"


def _candidates(controller: str, name: str) -> list[str]:
    """Paths where a control file of this process's group may be, most specific first."""
    paths = []
    try:
        with open("/proc/self/cgroup", "rb") as file:
            lines = [os.fsdecode(line) for line in file.read().splitlines()]
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            paths += [f"{_ROOT}{group}/{name}", f"{_ROOT}/unified{group}/{name}"]
        elif controller in controllers.split(","):
            paths += [f"{_ROOT}/{controller}{group}/{name}", f"{_ROOT}/{controllers}{group}/{name}"]
    # Inside a container the group's own files are mounted at the root.
    return [*paths, f"{_ROOT}/{controller}/{name}", f"{_ROOT}/{name}"]


def _read(controller: str, name: str) -> str | None:
    for path in _candidates(controller, name):
        try:
            with open(path) as file:
                return file.read()
        except OSError:
            continue
    return None


def oom_kills() -> int | None:
    """How many processes of this group the kernel has killed when memory ran out; None when it does not report that."""
    for name in ("memory.events", "memory.oom_control"):
        for line in (_read("memory", name) or "").splitlines():
            word, _, number = line.partition(" ")
            if word == "oom_kill" and number.strip().isdigit():
                return int(number)
    return None


def memory_limit_bytes() -> int | None:
    """The group's memory limit, or None when there is none."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = (_read("memory", name) or "").strip()
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def cpu_quota() -> float | None:
    """The group's CPU quota in cores, or None when there is none."""
    text = _read("cpu", "cpu.max")
    if text is not None:
        quota, _, period = text.strip().partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100000)
    quota_us, period_us = _read("cpu", "cpu.cfs_quota_us"), _read("cpu", "cpu.cfs_period_us")
    if quota_us is None or period_us is None or int(quota_us) <= 0:
        return None
    return int(quota_us) / int(period_us)


def tasks_left() -> int | None:
    """How many more processes and threads this group may have; None when there is no limit."""
    limit, current = (_read("pids", name) or "" for name in ("pids.max", "pids.current"))
    if not limit.strip().isdigit() or not current.strip().isdigit():
        return None
    return int(limit) - int(current)


def cores_allowed(setting: int | None = None) -> int:
    """Cores this process may use: the least of affinity, quota (rounded up) and setting."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    if quota is not None:
        cores = min(cores, max(1, -int(-quota // 1)))
    return cores if setting is None else max(1, min(cores, setting))
