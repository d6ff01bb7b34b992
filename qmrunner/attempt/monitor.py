"""Monitors a running engine: reads its guardian's messages and its log, takes snapshots, forwards stop requests.

Nothing here accesses the store.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qmrunner import untrusted
from qmrunner.attempt import hang_watch
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.interpret import loss_of
from qmrunner.attempt.log_reader import LogReader
from qmrunner.attempt.redirected import RedirectedOutput
from qmrunner.engines.base import Engine
from qmrunner.engines.huey import CANCELLED, CONCLUDE, HARD_TIMEOUT, OUTCOME, STOPPED
from qmrunner.guardian import peers, process
from qmrunner.host.sockets import connect_short
from qmrunner.logs import get as get_logger

_PROGRESS_EVERY_S = 0.5
_FROZEN_S = 5.0  # a wait of half a second that takes so long: this process was stopped (SIGSTOP, a frozen cgroup)
_CONCLUDE_S = 0.02
_LOSS_EVERY_S, _LOSS_CHECKS = 1.0, 3  # a file server may not find a file for a moment
_LONGEST_MESSAGE = 1 << 20


class Follower:
    """Follows one guardian until it is gone: reads progress, forwards stop requests, watches for hangs."""

    def __init__(
        self,
        attempt: ActiveAttempt,
        engine: Engine,
        watch: hang_watch.HangWatch,
        redirected: RedirectedOutput | None = None,
        may_conclude: Callable[[], bool | None] | None = None,
    ) -> None:
        self._attempt = attempt
        self._engine = engine
        self._watch = watch
        self._redirected = redirected
        # Whether a task whose body has ended may report that; None: the store does not answer.
        self._may_conclude = may_conclude
        self._sample: dict[str, Any] | None = None  # the guardian's newest sample, not judged yet
        self._log_reader = LogReader(attempt, engine.reader(attempt.step, attempt.directory.work))
        self._client: socket.socket | None = None
        self._buffer = b""
        self._save_due = False
        self._losses, self._next_loss_check = 0, 0.0
        self._most_s: float | None = (attempt.step.params.get("words") or {}).get("hard_timeout_s")

    def connect(self, deadline_s: float = 10.0) -> bool:
        """Connect to the guardian; False when there is none, or none any more."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            client.settimeout(1.0)
            try:
                connect_short(client, self._attempt.directory.path, process.SOCKET)
                if not self._is_guardian(client):
                    raise ConnectionRefusedError
            except OSError:
                client.close()
                if self._attempt.directory.exit_record() is not None:
                    return False
                time.sleep(0.003)  # it has just been forked and binds within milliseconds
                if time.monotonic() - end + deadline_s > 1.0 and not self._attempt.directory.guardian_lives():
                    return False
                continue
            self._client = client
            return self._await_hello()
        return False

    def _is_guardian(self, client: socket.socket) -> bool:
        """Whether the peer is this attempt's own guardian: an engine could listen on the same path."""
        peer, known = peers.peer_of(client), self._attempt.directory.known
        if peer is None or not peers.is_ours(peer[1]):
            return False
        return known is None or peer[0] in (0, known.pid)

    def _await_hello(self) -> bool:
        assert self._client is not None
        self._client.settimeout(10.0)
        try:
            while self._attempt.engine_pid is None:
                data = self._client.recv(65536)
                if not data:
                    break
                self._read_messages(data)
        except OSError:
            pass  # the guardian ended; its exit record decides
        return self._attempt.engine_pid is not None

    def follow(self, started: Callable[[], bool], after_s: float = 0.0) -> None:
        """Follow until the guardian closes the connection. Calls `started` once, when that takes longer than `after_s`;
        False stops the attempt."""
        client = self._client
        assert client is not None
        client.setblocking(False)
        try:
            start_at: float | None = time.monotonic() + after_s
            poller = select.poll()
            poller.register(client, select.POLLIN)
            poller.register(self._attempt.bell, select.POLLIN)
            asked: tuple[str, float] | None = None
            while True:
                if start_at is not None and time.monotonic() >= start_at:
                    start_at = None
                    if not started():
                        self._attempt.stop("fenced", 0.0)
                pause_s = _PROGRESS_EVERY_S if start_at is None else max(0.0, start_at - time.monotonic())
                before = time.monotonic()
                poller.poll(min(pause_s, _CONCLUDE_S if self._may_conclude else pause_s) * 1000)
                if time.monotonic() - before > _FROZEN_S:
                    self._attempt.thawed_at = time.monotonic()
                asked = self._pass_on(asked)
                self._pass_on_quota()
                try:
                    data = client.recv(65536)
                except BlockingIOError:
                    data = None
                except OSError:
                    return
                if data == b"":
                    return
                if data:
                    self._read_messages(data)
                self.read_progress()
                self._save()
                self._watch_for_hangs()
                self._watch_for_losses()
                self._watch_the_time()
                self._watch_the_outcome()
        finally:
            client.close()

    def _save(self) -> None:
        if not self._save_due:
            return
        self._save_due = False
        try:
            take_snapshot(self._attempt.directory, self._engine)
        except OSError as problem:
            # The engine may have replaced a file meanwhile, or the disk is full; the last snapshot stays valid.
            get_logger().warning(
                "snapshot_failed", job=self._attempt.job.id, step=self._attempt.step.name, error=str(problem)
            )

    def _pass_on(self, asked: tuple[str, float] | None) -> tuple[str, float] | None:
        wanted = self._attempt.stop_request
        if wanted is None or wanted == asked:
            return asked
        try:
            os.eventfd_read(self._attempt.bell)
        except BlockingIOError:
            pass  # the request came before the first poll
        assert self._client is not None
        if self._attempt.step.engine == "huey":
            self._note_stop(for_good=wanted[0] == "cancel")
        message = {"op": "stop", "reason": wanted[0], "grace_s": wanted[1]}
        try:
            self._client.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return asked  # the guardian is ending
        return wanted

    def _note_stop(self, *, for_good: bool) -> None:
        """Let the task know: its body may handle the signal itself, and a drain sends the same one."""
        # A task that is stopped for good reports to its application.
        for name in (STOPPED, CANCELLED) if for_good else (STOPPED,):
            with suppress(OSError):
                untrusted.write_bytes(self._attempt.directory.work / name, b"")

    def _pass_on_quota(self) -> None:
        if self._attempt.quota_sent:
            return
        try:
            os.eventfd_read(self._attempt.bell)
        except BlockingIOError:
            pass  # read already
        self._attempt.quota_sent = True
        assert self._client is not None
        message = {"op": "quota", "scratch_mib": self._attempt.grant.scratch_mib}
        try:
            self._client.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # the guardian is ending

    def _read_messages(self, data: bytes) -> None:
        *lines, rest = (self._buffer + data).split(b"\n")
        self._buffer = rest if len(rest) <= _LONGEST_MESSAGE else b""
        for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(message, dict):
                continue
            if isinstance(message.get("engine_pid"), int):
                self._attempt.engine_pid = message["engine_pid"]
            if isinstance(message.get("usage"), dict):
                self._attempt.usage = message["usage"]
            if "tree" in message:
                self._sample = message

    def _watch_for_losses(self) -> None:
        """Stop an attempt whose folder or log is lost: its result could not be read."""
        now = time.monotonic()
        if now < self._next_loss_check or self._attempt.stop_request is not None:
            return
        self._next_loss_check = now + _LOSS_EVERY_S
        lost = loss_of(self._attempt)
        self._losses = self._losses + 1 if lost else 0
        if lost and self._losses >= _LOSS_CHECKS:
            code, what = lost
            get_logger().warning(code, job=self._attempt.job.id, step=self._attempt.step.name, evidence=what)
            self._attempt.stop(code, self._watch.grace_s)

    def _watch_the_time(self) -> None:
        """Stop a task that runs longer than its application allows."""
        if self._most_s is None or self._attempt.stop_request is not None:
            return
        began = (self._attempt.directory.record() or {}).get("started_at", self._attempt.since)
        if time.time() - began > self._most_s:
            self._most_s = None
            self._attempt.stop(HARD_TIMEOUT, self._watch.grace_s)

    def _watch_the_outcome(self) -> None:
        """Let a task report its outcome once the store confirms that its attempt still owns the step."""
        if self._may_conclude is None or not untrusted.is_there(self._attempt.directory.work / OUTCOME):
            return
        allowed = self._may_conclude()
        if allowed is None:
            return
        self._may_conclude = None
        if allowed:
            with suppress(OSError):  # a full disk: the attempt ends when it is stopped
                untrusted.write_bytes(self._attempt.directory.work / CONCLUDE, b"")
        else:
            self._attempt.stop("fenced", 0.0)

    def _watch_for_hangs(self) -> None:
        sample, self._sample = self._sample, None
        signs = self._log_reader.signs()
        if sample is not None and self._redirected is not None:
            self._redirected.watch(sample)
        if sample is not None and signs is not None:
            self._watch.observe(hang_watch.observation(sample, **signs))

    def read_progress(self) -> None:
        """Read new output."""
        self._save_due = self._log_reader.read() or self._save_due


def take_snapshot(attempt: AttemptDirectory, engine: Engine) -> None:
    """Copy the engine's checkpoint files to a new snapshot, atomically. Keeps the two newest. Raises OSError."""
    names = [name for name in engine.checkpoint(attempt.work) if untrusted.objection(attempt.work / name) is None]
    if not names:
        return
    folder = attempt.snapshots
    folder.mkdir(exist_ok=True)
    os.close(untrusted.open_folder(folder))
    taken = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    number = taken[-1] + 1 if taken else 1
    fresh = folder / f".{number}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name in names:
        untrusted.copy(attempt.work / name, fresh / name)
    os.rename(fresh, folder / str(number))
    for old in taken[:-1]:
        shutil.rmtree(folder / str(old), ignore_errors=True)
