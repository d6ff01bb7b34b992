"""Process trees: which processes live, which belong together, and how to end them all.

Standard library only: guardians use it. Signals go through pidfds, so a recycled pid is never hit.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from functools import cache

from qmrunner.guardian.kernel_file import content
from qmrunner.guardian.process_identity import Identity, Stat, parse_stat
from qmrunner.guardian.syscall import system_library

MARKER = "QMRUNNER_ATTEMPT"
CONSUMER_NAME, SPAWNER_NAME, GUARDIAN_NAME = "qm-consumer", "qm-spawner", "qm-guardian"
FOSTER_NAME = "qm-foster"  # a guardian whose attempt has ended: `foster.py`
LASTING_NAME = "qm-lasting"  # a guardian of one attempt after the other: `lasting.py`
APP_HOST_NAME, TASK_NAME = "qm-apphost", "qm-task"  # a task is an engine: no allowed child of the supervisor
SIGNALS_NAME = "qm-signals"  # nor is a process that runs handlers of an application: `apps/side/host_signals.py`
WATCHER_NAME = "qm-appwatcher"  # ends the command of a dead app host: `apps/side/place.py`
GUARDIAN_NAMES = (GUARDIAN_NAME, FOSTER_NAME, LASTING_NAME)
# Every allowed child of the supervisor, by its process name in the kernel.
OUR_NAMES = (CONSUMER_NAME, SPAWNER_NAME, *GUARDIAN_NAMES, APP_HOST_NAME, WATCHER_NAME)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _prctl(option: int, argument: int | bytes | ctypes.Array[ctypes.c_char]) -> None:
    libc = system_library()
    value = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def become_subreaper() -> None:
    """From now on every orphan among this process's descendants becomes its child."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def can_be_subreaper() -> None:
    """Raises OSError if `become_subreaper` would; changes nothing."""
    answer = ctypes.create_string_buffer(ctypes.sizeof(ctypes.c_int))
    _prctl(_PR_GET_CHILD_SUBREAPER, answer)


def name_process(name: str) -> None:
    """Show `name` (15 characters) in ps and top."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def die_with_parent() -> None:
    """The kernel kills this process when the thread that forked it ends; kept across exec, not by its children."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


@cache  # no process outlives a boot
def boot_id() -> str:
    return content("/proc/sys/kernel/random/boot_id").decode().strip()


def pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def stat_of(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        return parse_stat(content(f"/proc/{pid}/stat").decode(errors="replace"))
    except (OSError, ValueError, IndexError):
        return None


def identity_of(pid: int) -> Identity | None:
    stat = stat_of(pid)
    return None if stat is None else Identity(boot_id(), pid_namespace(), pid, stat.start_ticks)


def myself() -> Identity:
    identity = identity_of(os.getpid())
    assert identity is not None
    return identity


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process still runs. A zombie does not count: it executes nothing.

    Only meaningful for this machine's boot and pid namespace: returns False for any other.
    """
    if identity.boot_id != boot_id() or identity.pid_ns != pid_namespace():
        return False
    stat = stat_of(identity.pid)
    return stat is not None and stat.start_ticks == identity.start_ticks and stat.state not in "ZX"


def open_pidfd(identity: Identity) -> int | None:
    """A pidfd for exactly this process, or None when it is gone."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError:
        return None
    # The pid may have been recycled before the open; after it, the pidfd pins the process.
    if not is_alive(identity):
        os.close(descriptor)
        return None
    return descriptor


def send(identity: Identity, *signals: int) -> bool:
    """Signal exactly this process. False when it is gone."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return False
    try:
        for number in signals:
            signal.pidfd_send_signal(descriptor, number)  # type: ignore[arg-type,unused-ignore]
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def children_of(pid: int) -> list[int]:
    """Direct children of all threads of a process."""
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children += map(int, content(f"/proc/{pid}/task/{task}/children").split())
    except FileNotFoundError:
        if os.path.exists(f"/proc/{pid}/task") and not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
            return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
    except OSError:
        pass  # it ended meanwhile
    return children


def _children_by_scan(pid: int) -> list[int]:
    stats = (stat_of(other) for other in all_pids())
    return [stat.pid for stat in stats if stat is not None and stat.ppid == pid]


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(root: int) -> list[Stat]:
    """Every process below `root`, zombies included, parents before children."""
    stats: list[Stat] = []
    seen = {root}
    todo = children_of(root)
    while todo:
        pid = todo.pop()
        if pid in seen:
            continue
        seen.add(pid)
        stat = stat_of(pid)
        # A pid whose parent is not in the tree was recycled between the two reads.
        if stat is None or stat.ppid not in seen:
            continue
        stats.append(stat)
        todo += children_of(pid)
    return stats


def is_guarded(pid: int) -> bool:
    """Whether a guardian is an ancestor of this process: then it is an engine, or was started by one."""
    return _has_ancestor(pid, GUARDIAN_NAMES)


def may_outlive(pid: int) -> bool:
    """Whether this process is a guardian that may live on after its attempt."""
    stat = stat_of(pid)
    return stat is not None and stat.comm in (FOSTER_NAME, LASTING_NAME)


def is_fostered(pid: int) -> bool:
    """Whether this process may outlive its attempt."""
    return _has_ancestor(pid, (FOSTER_NAME, LASTING_NAME))


def _has_ancestor(pid: int, names: Collection[str]) -> bool:
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        seen.add(pid)
        stat = stat_of(pid)
        if stat is None:
            return False
        if stat.comm in names:
            return True
        pid = stat.ppid
    return False


def signal_tree(root: int, *signals: int) -> int:
    """Signal every living descendant of `root`. Returns their number."""
    boot, namespace = boot_id(), pid_namespace()
    reached = 0
    for stat in descendants(root):
        if stat.state not in "ZX":
            reached += send(Identity(boot, namespace, stat.pid, stat.start_ticks), *signals)
    return reached


def marked(marker: str | None = None) -> dict[int, str]:
    """Processes of this user that carry the attempt marker: pid → marker. With `marker`, only that attempt's."""
    markers: dict[int, str] = {}
    needle = f"{MARKER}=".encode()
    for pid in all_pids():
        try:
            environment = content(f"/proc/{pid}/environ")
        except OSError:
            continue
        at = 0 if environment.startswith(needle) else environment.find(b"\0" + needle) + 1
        if at == 0 and not environment.startswith(needle):
            continue
        value = environment[at + len(needle) :].split(b"\0", 1)[0].decode(errors="replace")
        if marker is None or value == marker:
            markers[pid] = value
    return markers


def end_marked(*markers: str, deadline_s: float = 10.0) -> bool:
    """KILL every process that carries one of these attempt markers until two scans in a row find none.

    The fallback for trees whose guardian was killed. False when a process outlives `deadline_s` (uninterruptible
    sleep).
    """
    end = time.monotonic() + deadline_s
    clean = 0
    while clean < 2:
        pids = [pid for pid, marker in marked().items() if marker in markers]
        living = [i for pid in pids if (i := identity_of(pid)) is not None and is_alive(i)]
        if not living:
            clean += 1
            continue
        clean = 0
        for identity in living:
            send(identity, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def end_subtrees(roots: Iterable[int], still_ours: Callable[[], Iterable[int]], deadline_s: float = 10.0) -> bool:
    """KILL the given children of this process and their descendants, and reap them, until `still_ours` returns none."""
    end = time.monotonic() + deadline_s
    todo = list(roots)
    while todo:
        for pid in todo:
            signal_tree(pid, signal.SIGKILL)
            identity = identity_of(pid)
            if identity is not None:
                send(identity, signal.SIGKILL)
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        if time.monotonic() > end:
            return False
        todo = list(still_ours())
        if todo:
            time.sleep(0.005)
    return True
