"""Checks of the machine or container: cores, memory, shared memory, limits, clock. Facts in, findings out."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from qmrunner.doctor.finding import Finding, fail, ok, warn
from qmrunner.model.packing import Capacity

_MIB = 2**20
_SHM_LEAST_MIB, _SHM_PER_SLOT_MIB, _SHM_USELESS_MIB = 256, 64, 4
_MEMORY_PER_CORE_MIB, _MEMORY_LEAST_MIB = 1024, 256
# Debian's xTB 6.5.1 ends in SIGSEGV with 1 MiB at 182 atoms and runs with 2 (measured). Builds by other compilers keep
# their matrices on the stack: there 8 MiB are too little, and xTB's own advice is no limit (xtb#191).
_STACK_MIB, _STACK_LEAST_MIB = 256, 4
_PROCESSES, _PROCESSES_LEAST = 256, 48
_OPEN_FILES = 1024
_HOUR_S, _DAY_S = 3600.0, 86400.0
_FIRST_RELEASE = 1735689600.0  # 2025-01-01: before that no clock of a machine that has this program can be right


@dataclass(frozen=True, slots=True)
class Space:
    """A filesystem as a user without privileges sees it. `files_free` is None where files are not counted."""

    total_mib: int
    free_mib: int
    files_free: int | None
    problem: str | None = None  # why nothing can be written there


def space_of(path: Path | str) -> Space | None:
    """None when there is no such folder."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return Space(
        total_mib=found.f_blocks * found.f_frsize // _MIB,
        free_mib=found.f_bavail * found.f_frsize // _MIB,
        files_free=found.f_favail if found.f_files else None,
    )


def cores(capacity: Capacity, affinity: int, quota: float | None, setting: int | None) -> Finding:
    """Cores of affinity, quota and setting, against the slots."""
    seen = f"affinity {affinity}, " + ("no quota" if quota is None else f"quota {quota:g}")
    data = {"cores": capacity.cores, "affinity": affinity, "quota": quota, "slots": capacity.slots}
    text = f"{capacity.cores} cores for {capacity.slots} concurrent attempts ({seen})"
    if setting is not None and setting > capacity.cores:
        return warn(
            "cores", "cores_clipped", f"QMRUNNER_CORES={setting}, but only {capacity.cores} are available ({seen})",
            "lower QMRUNNER_CORES, or give the container more (`--cpus`, `--cpuset-cpus`)", **data,
        )  # fmt: skip
    if quota is not None and quota < capacity.cores:
        return warn(
            "cores", "quota_fraction", f"{text}: with a fractional quota, waiting ranks lose whole scheduling periods",
            f"give the container a whole number: `--cpus {capacity.cores}`, or set QMRUNNER_CORES={max(1, int(quota))}",
            **data,
        )  # fmt: skip
    if capacity.slots > capacity.cores:
        return warn("cores", "slots_idle", f"{text}: each attempt needs one core", "lower QMRUNNER_SLOTS", **data)
    return ok("cores", text, **data)


def memory(
    capacity: Capacity,
    total_mib: int,
    limit_mib: int | None,
    setting: int | None,
    counted: bool,
    together: bool = False,
) -> Finding:
    """Memory of machine, control group and setting; `counted`: the kernel counts kills by the OOM killer; `together`:
    it kills the daemon with the engine that exceeds the limit."""
    seen = f"machine {total_mib}, " + ("no limit" if limit_mib is None else f"limit {limit_mib}")
    data = {"usable_mib": capacity.memory_mib, "total_mib": total_mib, "limit_mib": limit_mib, "oom_counted": counted}
    text = f"{capacity.memory_mib} MiB usable ({seen})"
    more = "give the container more memory, or lower QMRUNNER_CORES and QMRUNNER_SLOTS"
    if capacity.memory_mib < _MEMORY_LEAST_MIB:
        return fail("memory", "memory_too_small", f"{text}: too little for any engine", more, **data)
    if capacity.memory_mib < _MEMORY_PER_CORE_MIB * capacity.cores:
        return warn(
            "memory", "memory_small", f"{text}: less than 1 GiB per core, so some cores stay unused", more, **data
        )
    if setting is not None and setting > capacity.memory_mib:
        return warn("memory", "memory_clipped", f"{text}, less than QMRUNNER_MEMORY_MIB={setting}", more, **data)
    if together:
        return warn(
            "memory", "oom_kills_all",
            f"{text}; memory.oom.group is set, so an engine that exceeds the limit ends the daemon too",
            "Kubernetes: `singleProcessOOMKill: true` of the kubelet; else unset OOMPolicy or memory.oom.group", **data,
        )  # fmt: skip
    if not counted:
        return warn(
            "memory", "oom_not_counted", f"{text}; kills by the OOM killer cannot be distinguished from other kills",
            "mount the control groups (`/sys/fs/cgroup`) into the container", **data,
        )  # fmt: skip
    return ok("memory", text, **data)


def shm(space: Space | None, slots: int) -> Finding:
    """/dev/shm, where Global Arrays and MPI keep the memory that ranks share."""
    wanted = max(_SHM_LEAST_MIB, _SHM_PER_SLOT_MIB * slots)
    larger = f"run the container with `--shm-size {max(1024, 2 * wanted)}m` (compose: `shm_size`)"
    if space is None:
        return fail("shm", "shm_missing", "there is no /dev/shm", f"mount a tmpfs there, or {larger}")
    data = {"total_mib": space.total_mib, "free_mib": space.free_mib, "wanted_mib": wanted}
    if space.problem:
        return fail("shm", "shm_unwritable", f"/dev/shm: {space.problem}", "run `chmod 1777 /dev/shm` as root", **data)
    text = f"/dev/shm has {space.free_mib} of {space.total_mib} MiB free"
    if space.free_mib < _SHM_USELESS_MIB:
        return fail("shm", "shm_exhausted", text, f"remove leftovers there (`qmrunner sweep`), or {larger}", **data)
    if space.free_mib < wanted:
        return warn("shm", "shm_small", f"{text}; {slots} attempts may need {wanted}", larger, **data)
    return ok("shm", text, **data)


def stack(soft: int, hard: int) -> Finding:
    """The stack limits in bytes (RLIM_INFINITY: none). Engines are started with the hard one."""
    data = {"soft_mib": _mib(soft), "hard_mib": _mib(hard)}
    text = f"hard limit {_limit(hard)}, raised to that for engines (now {_limit(soft)})"
    more = "`ulimit -Hs unlimited`, `docker run --ulimit stack=-1`, or `LimitSTACK=infinity`"
    if hard != resource.RLIM_INFINITY and hard < _STACK_LEAST_MIB * _MIB:
        return fail(
            "stack", "stack_limit", f"{text}: xTB and CREST crash with SIGSEGV on large molecules", more, **data
        )
    if hard != resource.RLIM_INFINITY and hard < _STACK_MIB * _MIB:
        return warn("stack", "stack_small", f"{text}: some builds of xTB and CREST need more", more, **data)
    return ok("stack", text, **data)


def kernel(problem: OSError | None, pidfd_problem: OSError | None = None) -> Finding:
    """`problem` of the kernel with becoming a subreaper: without it orphans of engines could outlive their attempt.
    `pidfd_problem`: with opening a process by a descriptor, without which no process may be signalled safely."""
    here = os.uname()
    data = {"release": here.release, "machine": here.machine}
    if problem is not None:
        words = f"PR_SET_CHILD_SUBREAPER: {os.strerror(problem.errno or 0)}"
        text = f"the daemon cannot adopt orphans of engines ({words}), as under QEMU emulation of another CPU"
        remedy = f"use an image built for the CPU of this machine (this image sees {here.machine})"
        return fail("kernel", "kernel_unfit", text, remedy, **data)
    if pidfd_problem is not None:
        words = f"pidfd_open: {os.strerror(pidfd_problem.errno or 0)}"
        text = f"Linux {here.release}: the daemon cannot signal engines without hitting others ({words})"
        remedy = "Linux 5.3 or newer; in a container also a Docker and libseccomp that know `pidfd_open` (20.10, 2.4.4)"
        return fail("kernel", "kernel_unfit", text, remedy, **data)
    return ok("kernel", f"Linux {here.release} on {here.machine}; the daemon adopts orphans of engines", **data)


def processes(room: int | None, cores: int) -> Finding:
    """How many more processes and threads control group and user may have; None: no limit."""
    data = {"room": room}
    if room is None:
        return ok("processes", "no process limit", **data)
    text = f"room for {room} more processes and threads"
    more = "`docker run --pids-limit -1`, `TasksMax=infinity`, or a higher `ulimit -u`"
    if room < _PROCESSES_LEAST + 8 * cores:
        return fail("processes", "process_limit", f"{text}: engines cannot start their threads", more, **data)
    if room < _PROCESSES + 16 * cores:
        return warn("processes", "process_limit", text, more, **data)
    return ok("processes", text, **data)


def limits(files: int, file_bytes: int, address_bytes: int, cpu_s: int) -> Finding:
    """Hard limits that kill a running engine (RLIM_INFINITY: none)."""
    set_ones = [
        f"{name} {_limit(value) if size else value}"
        for name, value, size in (
            ("file size", file_bytes, True),
            ("address space", address_bytes, True),
            ("CPU seconds", cpu_s, False),
        )
        if value != resource.RLIM_INFINITY
    ]
    data = {"open_files": None if files == resource.RLIM_INFINITY else files}
    if set_ones:
        return warn(
            "limits", "limits_set", f"set: {', '.join(set_ones)}: an engine that exceeds one is killed",
            "raise them (`ulimit -f`, `-v`, `-t`), or make sure that no run needs more", **data,
        )  # fmt: skip
    if files != resource.RLIM_INFINITY and files < _OPEN_FILES:
        text = f"only {files} open files allowed"
        return warn("limits", "open_files_limit", text, f"`ulimit -Hn {_OPEN_FILES}` or more", **data)
    return ok("limits", "no limit that would kill a run", **data)


def clock(now: float, built: float, newest: float | None, zone: str | None, zone_known: bool) -> Finding:
    """Unix seconds: now, when this program was put here, and the newest file of the home (None without one)."""
    shown = _utc(now)
    data = {"utc": shown, "tz": zone}
    if now < _FIRST_RELEASE:
        return fail(
            "clock", "clock_in_the_past", f"the clock shows {shown} UTC, years before qmrunner was written",
            "set the clock (NTP): once it is right, files written now would look years old and be swept", **data,
        )  # fmt: skip
    if now < built - _DAY_S:
        text = f"the clock shows {shown} UTC, but qmrunner was installed at {_utc(built)}"
        return warn(
            "clock",
            "clock_before_install",
            text,
            "set the clock (NTP), unless it was wrong during the installation",
            **data,
        )
    if newest is not None and newest > now + _HOUR_S:
        return warn(
            "clock", "clock_went_back", f"the clock shows {shown} UTC, but the home has files of {_utc(newest)}",
            "set the clock (NTP); ages of jobs and files are wrong until then", **data,
        )  # fmt: skip
    if zone and not zone_known:
        return warn(
            "clock", "timezone_unknown", f"{shown} UTC; TZ={zone} is not known on this machine",
            "install tzdata or unset TZ; qmrunner and its engines use UTC", **data,
        )  # fmt: skip
    return ok("clock", f"{shown} UTC; engines use UTC as well" + (f" (TZ here: {zone})" if zone else ""), **data)


def zone_is_known(zone: str | None, root: Path = Path("/usr/share/zoneinfo")) -> bool:
    """Whether the C library understands TZ. A rule such as CET-1CEST needs no file."""
    name = (zone or "").removeprefix(":")
    return "/" not in name or Path(root, name).is_file()


def temporary(given: str | None, problem: str | None, usable: str | None) -> Finding:
    """TMPDIR of this process: `problem` with the one given, and the folder that is `usable` instead."""
    remedy = f"unset TMPDIR, or make {given} writable for user id {os.geteuid()}"
    if usable is None:
        return fail("tmpdir", "tmpdir_unusable", "no temporary folder is writable", "make /tmp writable (mode 1777)")
    if given and problem:
        return fail("tmpdir", "tmpdir_unusable", f"TMPDIR={given}: {problem}", remedy, usable=usable)
    return ok("tmpdir", f"{usable}; engines get their own in scratch", usable=usable)


def _mib(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value // _MIB


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value / _MIB:g} MiB"


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
