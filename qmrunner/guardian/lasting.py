"""A guardian of one attempt after the other, whose engine lasts: a process of an application that keeps what it loaded.

The engine is forked once. For each attempt it gets the order and the log, and reports the status with which a separate
process would have ended; then every orphan of the attempt is ended, and the exit record written. The engine and the
processes that it is the parent of stay. A stop ends them all, and so does the death of this process or of the engine:
the next attempt has another guardian. Between two attempts the guardian holds nothing but the channel to the app host,
on which it gets directories (a descriptor in each message) and reports that it is free.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

from qmrunner.guardian import process, process_tree
from qmrunner.guardian.engine_start import be_first_when_memory_ends

FREE = b"free"
_END_S = 5.0  # for the engine to run its shutdown hooks


class Engine:
    """The lasting process, and the socket to it."""

    def __init__(self, run: Callable[[socket.socket], None]) -> None:
        self.socket, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        me = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            process_tree.die_with_parent()
            if os.getppid() != me:
                os._exit(127)
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                be_first_when_memory_ends()
                os.setsid()
                run(inner)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        inner.close()


class LastingGuardian(process.Guardian):
    """The guardian of one attempt."""

    engine: Engine
    is_gone = False  # the engine has ended

    def follow(self, engine: Engine) -> bool:
        """Run the attempt. Returns whether the engine still lives."""
        self.engine = engine
        self.meter.count_from_now()
        self.run()
        return not self.is_gone

    def reports(self) -> int | None:
        return self.engine.socket.fileno()

    def read_report(self) -> None:
        try:
            data = self.engine.socket.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self.engine_status is None:
            self.engine_status = int(json.loads(data)["status"]) << 8
            self._begin_ending(process.LEFTOVER_GRACE_S)

    def _start_engine(self, log: int) -> None:
        self.engine_pid = self.engine.pid
        self._write_record()
        try:
            socket.send_fds(self.engine.socket, [json.dumps(self.order._asdict()).encode()], [log])
        except OSError:
            return  # it has ended; `_reap` finds that

    def _reap(self) -> bool:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                break
            if pid == self.engine_pid:
                self.is_gone = True
                self.read_report()  # sent before its death
                if self.engine_status is None:
                    self.engine_status = status
                if self.kill_after is None:
                    self._begin_ending(process.LEFTOVER_GRACE_S)
        return self._ends_alone() and not self._orphans()

    def _ends_alone(self) -> bool:
        """Whether the attempt has ended and the engine is not stopped with it."""
        return self.engine_status is not None and self.stop_reason is None and not self.is_gone

    def _orphans(self) -> list[int]:
        return [pid for pid in process_tree.children_of(os.getpid()) if pid != self.engine_pid]

    def _begin_ending(self, grace_s: float) -> None:
        if not self._ends_alone():
            super()._begin_ending(grace_s)
            return
        self.survivors += self._signal_orphans(signal.SIGTERM, signal.SIGCONT)
        self.kill_after = time.monotonic() + grace_s

    def _act(self) -> None:
        if self._ends_alone() and self.kill_after is not None and time.monotonic() >= self.kill_after:
            self._signal_orphans(signal.SIGKILL)
            return
        super()._act()

    def _signal_orphans(self, *signals: int) -> int:
        reached = 0
        for pid in self._orphans():
            reached += process_tree.signal_tree(pid, *signals)
            identity = process_tree.identity_of(pid)
            if identity is not None and process_tree.is_alive(identity):
                reached += process_tree.send(identity, *signals)
        return reached


def serve(directory: int, channel: socket.socket, run: Callable[[socket.socket], None], most: int | None) -> None:
    """Run attempts, `directory` first, until the app host or the engine has ended, or `most` have run. `run` is the
    engine: it reads orders until end of file."""
    process.become_guardian(process_tree.LASTING_NAME)
    inherited: list[Any] = [channel, directory]
    engine = Engine(lambda inner: _run(run, inner, inherited))
    wake = process.catch_signals()
    done = 0
    next_directory: int | None = directory
    while next_directory is not None:
        alive = _attempt(next_directory, engine, wake, channel, last=most is not None and done + 1 >= most)
        done += 1
        if not alive or (most is not None and done >= most):
            break
        next_directory = _next(channel, wake, engine)
    _end(engine)


def _run(run: Callable[[socket.socket], None], inner: socket.socket, inherited: list[Any]) -> None:
    channel, directory = inherited
    channel.close()
    os.close(directory)
    run(inner)


def _attempt(directory: int, engine: Engine, wake: int, channel: socket.socket, *, last: bool) -> bool:
    """One attempt. Returns whether the engine still lives."""
    process.write_errors_to(directory)
    lock = process.lock(directory)
    guardian: LastingGuardian | None = None
    alive = True
    if lock is not None:
        guardian = LastingGuardian(directory, process.order_in(directory), wake=wake)
        alive = guardian.follow(engine)
        os.close(lock)
    os.close(directory)
    _let_go_of_errors()
    if alive and not last:
        try:
            channel.send(FREE)  # before the consumer sees the end: its next request finds this process free
        except OSError:
            pass  # the app host has ended; so does this process next
    for client in guardian.clients if guardian is not None else ():
        client.close()
    return alive


def _let_go_of_errors() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


def _next(channel: socket.socket, wake: int, engine: Engine) -> int | None:
    """The next attempt's directory; None when this process is to end."""
    poller = select.poll()
    for descriptor in (channel.fileno(), wake):
        poller.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if wake in ready and signal.SIGTERM in os.read(wake, 4096):
            return None
        try:
            if os.waitpid(engine.pid, os.WNOHANG)[0]:
                return None
        except ChildProcessError:
            return None
        if channel.fileno() in ready:
            data, passed, _, _ = socket.recv_fds(channel, 16, 1)
            if not data or not passed:
                return None
            os.set_inheritable(passed[0], False)
            return passed[0]


def _end(engine: Engine) -> None:
    """Let the engine end by itself, then end what is left."""
    engine.socket.close()
    end = time.monotonic() + _END_S
    while time.monotonic() < end:
        try:
            if os.waitpid(engine.pid, os.WNOHANG)[0]:
                break
        except ChildProcessError:
            break
        time.sleep(0.02)
    process_tree.end_subtrees(process_tree.children_of(os.getpid()), lambda: process_tree.children_of(os.getpid()))
