"""The guardian: owns one attempt's process tree, its log and its exit record.

It is forked from the small `spawner` process, imports the standard library only, and knows neither store nor engine.
It is a child subreaper and inherits every orphan of its tree, so ECHILD from `waitpid` *proves* the tree is empty.

Files in the attempt directory:

    command.json    written by the consumer: what to run (`Order`)
    guardian.json   identities of guardian and engine, written before the engine's first instruction
    guardian.sock   where a consumer connects; JSON lines both ways
    guardian.lock   locked while the guardian lives: visible across pid namespaces, released with the process
    fenced          if it exists once the lock is held, this attempt is over: nothing is started
    exit.json       how it ended, written once, by rename, after the tree was proven empty, or holds only what a task
                    with `detach` left behind: `foster.py`

Messages in: {"op": "stop", "reason", "grace_s"}, {"op": "quota", "scratch_mib"}. Messages out: {"event":
"hello"|"usage"|"exit", ...}; "usage" comes with each sample of the tree, with `at_s` (monotonic) and `tree` (pid, name,
state, CPU seconds of each process).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from qmrunner.guardian import foster, peers, process_tree
from qmrunner.guardian.cgroup import oom_kills
from qmrunner.guardian.engine_start import become_engine
from qmrunner.guardian.syscall import system_library
from qmrunner.guardian.usage import Meter

COMMAND, RECORD, SOCKET, EXIT = "command.json", "guardian.json", "guardian.sock", "exit.json"
LOCK, FENCED = "guardian.lock", "fenced"
SNAPSHOTS = "checkpoint"  # next to the engine's folder, where the engine does not write; filled by the consumer
_FALLOC_FL_KEEP_SIZE = 1
LEFTOVER_GRACE_S = 1.0  # for processes that an engine leaves behind when it ends by itself
_KILL_EVERY_S = 0.02
_FIRST_OF_CALL_S = 0.1
_SAFELY = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CLIENTS = 16  # of one consumer, and of the one being replaced
_LONGEST_GRACE_S = 86400.0
_QUOTA_SAMPLES = 2  # consecutive samples above the quota: the consumer has had time to raise it


class Order(NamedTuple):
    """command.json: everything a guardian needs to know."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    marker: str
    grace_s: float
    adoption_s: float
    preallocate_bytes: int
    scratch_quota_mib: int = 0  # 0: none
    file_limit_bytes: int = 0  # 0: none
    confinement: dict[str, Any] | None = None  # see `confinement.policy.as_order`; None: not confined
    measured: str | None = None  # the folder whose content counts as scratch; None: `cwd`
    detach: bool = False  # what an engine that ended with status 0 leaves runs on, fostered by this process

    @property
    def work(self) -> str:
        return self.measured or self.cwd


class Guardian:
    """State of the one loop. Times are monotonic seconds unless named `_at` (Unix seconds).

    `call` runs in the forked child instead of the order's command. `wake` is a pipe that signals write to, from
    `catch_signals`; made if None.
    """

    def __init__(
        self, directory: int, order: Order, call: Callable[[Order], None] | None = None, wake: int | None = None
    ) -> None:
        self.directory = directory
        self.order = order
        self.call = call
        self.engine_pid = 0
        self.engine_status: int | None = None
        self.exec_error: str | None = None
        self.stop_reason: str | None = None
        self.kill_after: float | None = None
        self.survivors = 0
        self.clients: list[socket.socket] = []
        self.alone_since = self.started = time.monotonic()
        self.started_at = time.time()
        self.oom_before = oom_kills()
        self.over_quota = 0
        self.detached = 0  # processes that are left on purpose
        self.wake = wake
        snapshots = os.path.join(os.path.dirname(self.order.work), SNAPSHOTS)
        # A task of an application may end within milliseconds.
        first_s = _FIRST_OF_CALL_S if self.call is not None else 0.0
        self.meter = Meter(self.order.work, self.order.log, snapshots, first_s)

    def run(self) -> None:
        """Returns once the exit record is written."""
        wake = catch_signals() if self.wake is None else self.wake
        listener = self._listen()
        log = self._open_log()
        self._start_engine(log)
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(listener, select.POLLIN)
        reports = self.reports()
        if reports is not None:
            poller.register(reports, select.POLLIN)
        while not self._reap() and not self.detached:
            for descriptor, _ in poller.poll(self._timeout_ms()):
                if descriptor == wake:
                    self._read_signals(wake)
                elif descriptor == reports:
                    self.read_report()
                elif descriptor == listener.fileno():
                    self._accept(listener, poller)
                else:
                    self._read_client(descriptor, poller)
            self._act()
        self.meter.sample_last()
        _release_tail(log)
        os.close(log)
        self._write_exit()
        self._send({"event": "exit"})

    # -- for a guardian whose engine outlives the attempt: `lasting.py` -----------------------------------------------

    def reports(self) -> int | None:
        """A descriptor that is readable when the engine reports."""
        return None

    def read_report(self) -> None:
        """Called when it is."""

    # -- starting ---------------------------------------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # Through the descriptor: a socket path holds 107 bytes, an attempt directory's path may be longer.
        path = f"/proc/self/fd/{self.directory}/{SOCKET}"
        if os.path.lexists(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(4)
        listener.setblocking(False)
        return listener

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        log = os.open(self.order.log, flags, 0o666)
        if not stat.S_ISREG(os.fstat(log).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", self.order.log)
        os.set_blocking(log, True)
        if self.order.preallocate_bytes:
            # Reserve blocks without changing the size: a disk that fills up later cannot silently truncate the log.
            libc = system_library()
            size = os.fstat(log).st_size
            libc.fallocate(log, _FALLOC_FL_KEEP_SIZE, ctypes.c_long(size), ctypes.c_long(self.order.preallocate_bytes))
        return log

    def _start_engine(self, log: int) -> None:
        problem_out, problem_in = os.pipe2(os.O_CLOEXEC)
        go_out, go_in = os.pipe2(os.O_CLOEXEC)
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(go_in)
            # Before exec the child has our process name and no marker, so no sweep could find it: make it die with us.
            # Check getppid() afterwards; we may already be dead.
            process_tree.die_with_parent()
            # Wait until the record with both identities is on disk; never start without a guardian.
            if os.getppid() != me or not os.read(go_out, 1):
                os._exit(127)
            become_engine(self.order, log, problem_in, self.call)
        os.close(problem_in)
        os.close(go_out)
        self.engine_pid = pid
        self._write_record()
        os.write(go_in, b"x")
        os.close(go_in)
        with os.fdopen(problem_out, "rb") as file:
            problem = file.read().decode(errors="replace")
        if problem:
            self.exec_error = problem
            os.write(log, f"qmrunner: cannot execute {self.order.argv[0]}: {problem}\n".encode())

    def _write_record(self) -> None:
        engine = process_tree.identity_of(self.engine_pid)
        record = {
            "marker": self.order.marker,
            "guardian": process_tree.myself().as_dict(),
            "engine": engine.as_dict() if engine else None,
            "started_at": self.started_at,
        }
        write_json(self.directory, RECORD, record)

    # -- the loop's parts -------------------------------------------------------------------------------------------

    def _timeout_ms(self) -> int:
        now = time.monotonic()
        due = [self.meter.next_due]
        if self.kill_after is not None:
            due.append(max(self.kill_after, now + _KILL_EVERY_S) if now < self.kill_after else now + _KILL_EVERY_S)
        if not self.clients and self.stop_reason is None:
            due.append(self.alone_since + self.order.adoption_s)
        return max(1, int((min(due) - now) * 1000) + 1)

    def _read_signals(self, wake: int) -> None:
        if signal.SIGTERM in os.read(wake, 4096):
            self.stop("terminated", self.order.grace_s)

    def _reap(self) -> bool:
        """Collect every ended child. True once no child is left (ECHILD): the proof."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.engine_pid:
                self.engine_status = status
                if self._may_leave():
                    return False
                if self.kill_after is None:
                    self._begin_ending(LEFTOVER_GRACE_S)

    def _may_leave(self) -> bool:
        """Whether the engine has ended and left processes behind that it may leave."""
        if self.order.detach and self.engine_status == 0 and self.stop_reason is None:
            self.detached = sum(stat.state not in "ZX" for stat in process_tree.descendants(os.getpid()))
        if self.detached:
            # From now on: a sweep may find the attempt ended as soon as its exit record exists.
            process_tree.name_process(process_tree.FOSTER_NAME)
        return self.detached > 0

    def _begin_ending(self, grace_s: float) -> None:
        reached = process_tree.signal_tree(os.getpid(), signal.SIGTERM, signal.SIGCONT)
        if self.engine_status is not None:
            self.survivors += reached
        self.kill_after = time.monotonic() + grace_s

    def stop(self, reason: str, grace_s: float) -> None:
        """TERM and CONT now, KILL after the grace until nothing is left. The first reason is kept."""
        if self.stop_reason is None and self.engine_status is None:
            self.stop_reason = reason
            self._begin_ending(grace_s)
        elif self.kill_after is not None:
            self.kill_after = min(self.kill_after, time.monotonic() + grace_s)

    def _act(self) -> None:
        now = time.monotonic()
        if self.kill_after is not None and now >= self.kill_after:
            process_tree.signal_tree(os.getpid(), signal.SIGKILL)
        if not self.clients and self.stop_reason is None and now - self.alone_since >= self.order.adoption_s:
            self.stop("abandoned", self.order.grace_s)
        if self.meter.is_due(now):
            self._sample()

    # -- consumers --------------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket, poller: select.poll) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        if len(self.clients) >= _CLIENTS or not _is_consumer(client):
            client.close()
            return
        client.setblocking(False)
        self.clients.append(client)
        poller.register(client, select.POLLIN)
        hello = {"event": "hello", "engine_pid": self.engine_pid, "exec_error": self.exec_error}
        self._send(hello | {"usage": self.meter.usage.as_dict()})

    def _read_client(self, descriptor: int, poller: select.poll) -> None:
        client = next(c for c in self.clients if c.fileno() == descriptor)
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            poller.unregister(client)
            self.clients.remove(client)
            client.close()
            self.alone_since = time.monotonic()
            return
        for line in data.splitlines():
            try:
                message = json.loads(line)
                if message["op"] == "stop":
                    self.stop(str(message["reason"])[:40], _number(message["grace_s"], _LONGEST_GRACE_S))
                elif message["op"] == "quota":
                    self.order = self.order._replace(scratch_quota_mib=int(_number(message["scratch_mib"], 2.0**40)))
            except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
                continue  # a consumer that died while it sent, or another program

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        for client in self.clients:
            try:
                client.send(data)
            except OSError:
                continue  # the reader is stuck or gone: it reads exit.json, or the next message

    # -- usage -----------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        walked = self.meter.sample()
        if walked:
            self._enforce_quota()
        self._send(
            {
                "event": "usage",
                "usage": self.meter.usage.as_dict(),
                "at_s": self.meter.sampled_at,
                "tree": self.meter.living,
            }
        )

    def _enforce_quota(self) -> None:
        """Stop an attempt that stays above its quota; twice the quota without a consumer, which alone can raise it."""
        quota = self.order.scratch_quota_mib if self.clients else 2 * self.order.scratch_quota_mib
        self.over_quota = self.over_quota + 1 if 0 < quota < self.meter.usage.scratch_mib else 0
        if self.over_quota >= _QUOTA_SAMPLES:
            self.stop("scratch_quota", self.order.grace_s)

    def _write_exit(self) -> None:
        status = self.engine_status
        code = None if status is None else os.waitstatus_to_exitcode(status)
        oom_after = oom_kills()
        oom = None if oom_after is None or self.oom_before is None else oom_after - self.oom_before
        wall_s = time.monotonic() - self.started
        record = {
            "marker": self.order.marker,
            "returncode": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "exec_error": self.exec_error,
            "stop_reason": self.stop_reason,
            "wall_s": round(wall_s, 4),
            "cpu_s": round(self.meter.usage.cpu_s, 4),
            "cores": round(self.meter.usage.cpu_s / max(wall_s, 1e-3), 2),
            "peak_rss_mib": round(self.meter.usage.peak_rss_mib, 2),
            "peak_memory_mib": round(self.meter.usage.peak_memory_mib, 2) or None,
            "peak_shm_mib": round(self.meter.usage.peak_shm_mib, 2),
            "peak_scratch_mib": round(self.meter.usage.peak_scratch_mib, 2),
            "survivors_ended": self.survivors,
            "detached": self.detached or None,
            "oom_kills": oom,
            "disk_full": self.meter.usage.disk_full,
            "logs_full": self.meter.usage.logs_full,
            "stack_limit_mib": stack_limit_mib(),
            "started_at": self.started_at,
            "ended_at": time.time(),
        }
        write_json(self.directory, EXIT, record)


def stack_limit_mib() -> float | None:
    """The hard stack limit with which engines start; None when unlimited."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    return None if hard == resource.RLIM_INFINITY else round(hard / 2**20, 3)


def write_json(directory: int, name: str, value: Any) -> None:
    """Write a file of the attempt directory atomically: complete or absent."""
    unique = os.urandom(6).hex()  # an engine may have created a file under any predictable name
    temporary = f".{name}.{unique}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(value))  # `dumps` uses the C encoder, `dump` the one written in Python
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except IsADirectoryError:
        os.rename(name, f".{name}.{unique}.foreign", src_dir_fd=directory, dst_dir_fd=directory)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _is_consumer(client: socket.socket) -> bool:
    """Whether to accept this peer: our own user, and not an engine."""
    peer = peers.peer_of(client)
    return peer is not None and peers.is_ours(peer[1]) and not process_tree.is_guarded(peer[0])


def _number(value: Any, most: float) -> float:
    """A number from 0 to `most`. Raises ValueError, TypeError."""
    number = float(value)
    if not 0.0 <= number <= most:
        raise ValueError(f"not within 0 and {most}: {number}")
    return number


def catch_signals() -> int:
    """Install handlers that only wake the loop; the wake-up pipe carries the signal numbers."""
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    return out


def _release_tail(log: int) -> None:
    """Release the blocks that were preallocated behind the end of the log."""
    try:
        os.ftruncate(log, os.fstat(log).st_size)
    except OSError:
        pass  # the log is complete; only its reserve is not released


def run_guardian(handle: int, call: Callable[[Order], None] | None = None) -> None:
    """Run a guardian, from just after the fork to its end; `handle` is a descriptor of the attempt's directory.

    With `call` the engine is a fork of this process that calls it; without, the command of the order.

    Problems of the attempt are in its exit record; raises OSError when the directory cannot be used at all.
    """
    become_guardian(process_tree.GUARDIAN_NAME)
    write_errors_to(handle)
    if lock(handle) is None:
        return
    try:
        order = order_in(handle)
        daemon = foster.daemon() if order.detach else None
        guardian = Guardian(handle, order._replace(detach=daemon is not None), call)
        guardian.run()
        if guardian.detached and daemon is not None:
            foster.keep(daemon, order.grace_s)
    except BaseException as error:
        print(f"guardian failed: {error!r}", file=sys.stderr)
        process_tree.signal_tree(os.getpid(), signal.SIGKILL)
        raise


def become_guardian(name: str) -> None:
    """This process owns whatever its descendants leave behind."""
    os.setsid()
    process_tree.become_subreaper()
    process_tree.name_process(name)


def write_errors_to(handle: int) -> None:
    """Let the standard streams end in the attempt's directory."""
    flags = os.O_WRONLY | os.O_APPEND | _SAFELY
    stderr_log = os.open("guardian.err", flags, 0o666, dir_fd=handle)
    null = os.open("/dev/null", os.O_RDWR)
    for source, target in ((null, 0), (stderr_log, 1), (stderr_log, 2)):
        os.dup2(source, target)
    os.close(stderr_log)
    os.close(null)


def lock(handle: int) -> int | None:
    """A descriptor that holds the attempt's lock while it is open; None when nothing may be started."""
    descriptor = os.open(LOCK, os.O_RDWR | _SAFELY, 0o666, dir_fd=handle)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None  # this attempt has a guardian already, or is being checked for one
    # Lock first, check second; a process that fences an attempt writes `fenced` first and tries the lock second.
    if _is_there(FENCED, handle):
        os.close(descriptor)
        return None
    return descriptor


def order_in(handle: int) -> Order:
    with open(os.open(COMMAND, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)) as file:
        return Order(**json.load(file))


def _is_there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
