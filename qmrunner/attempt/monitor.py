"""While an engine runs: its guardian is listened to, its log read, snapshots taken, requests passed on.

Nothing here touches the store.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import time
from collections.abc import Callable
from typing import Any

from qmrunner import untrusted
from qmrunner.attempt import hang_watch
from qmrunner.attempt.active import Live
from qmrunner.attempt.directory import AttemptFolder
from qmrunner.attempt.interpret import loss_of
from qmrunner.attempt.log_reader import Feed
from qmrunner.engines.base import Engine
from qmrunner.guardian import peers, process
from qmrunner.host.sockets import connect_short
from qmrunner.logs import get as get_logger

_PROGRESS_EVERY_S = 0.5
_LOSS_EVERY_S, _LOSS_LOOKS = 1.0, 3  # a server of files may lose sight of one for a moment
_LONGEST_MESSAGE = 1 << 20


class Follower:
    """Watches one guardian until it is gone: reads progress, passes stop requests on, looks out for hangs."""

    def __init__(self, live: Live, engine: Engine, watch: hang_watch.HangWatch) -> None:
        self._live = live
        self._engine = engine
        self._watch = watch
        self._look: dict[str, Any] | None = None  # the guardian's newest, not judged yet
        self._feed = Feed(live, engine.reader(live.step, live.folder.work))
        self._client: socket.socket | None = None
        self._buffer = b""
        self._save_due = False
        self._losses, self._next_loss_look = 0, 0.0

    def connect(self, deadline_s: float = 10.0) -> bool:
        """Reach the guardian; False when there is none (any more)."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            client.settimeout(1.0)
            try:
                connect_short(client, self._live.folder.path, process.SOCKET)
                if not self._is_guardian(client):
                    raise ConnectionRefusedError
            except OSError:
                client.close()
                if self._live.folder.exit_record() is not None:
                    return False
                time.sleep(0.003)  # it has just been forked and binds within milliseconds
                if time.monotonic() - end + deadline_s > 1.0 and not self._live.folder.guardian_lives():
                    return False
                continue
            self._client = client
            return self._await_hello()
        return False

    def _is_guardian(self, client: socket.socket) -> bool:
        """Whether the other end is the guardian that was forked for this attempt: an engine may listen there, too."""
        peer, known = peers.peer_of(client), self._live.folder.known
        if peer is None or not peers.is_ours(peer[1]):
            return False
        return known is None or peer[0] in (0, known.pid)

    def _await_hello(self) -> bool:
        assert self._client is not None
        self._client.settimeout(10.0)
        try:
            while self._live.engine_pid is None:
                data = self._client.recv(65536)
                if not data:
                    break
                self._take(data)
        except OSError:
            pass  # it ended; what counts is its exit record
        return self._live.engine_pid is not None

    def follow(self, started: Callable[[], bool]) -> None:
        """Until the guardian closes the connection. `started` is called once; False from it stops the attempt."""
        client = self._client
        assert client is not None
        client.setblocking(False)
        try:
            if not started():
                self._live.stop("fenced", 0.0)
            poller = select.poll()
            poller.register(client, select.POLLIN)
            poller.register(self._live.bell, select.POLLIN)
            asked: tuple[str, float] | None = None
            while True:
                poller.poll(_PROGRESS_EVERY_S * 1000)
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
                    self._take(data)
                self.read_progress()
                self._save()
                self._watch_for_hangs()
                self._watch_for_losses()
        finally:
            client.close()

    def _save(self) -> None:
        if not self._save_due:
            return
        self._save_due = False
        try:
            take_snapshot(self._live.folder, self._engine)
        except OSError as problem:
            # The engine may have replaced a file meanwhile, or the disk is full; the last snapshot stands.
            get_logger().warning(
                "snapshot_failed", job=self._live.job.id, step=self._live.step.name, error=str(problem)
            )

    def _pass_on(self, asked: tuple[str, float] | None) -> tuple[str, float] | None:
        wanted = self._live.stop_request
        if wanted is None or wanted == asked:
            return asked
        try:
            os.eventfd_read(self._live.bell)
        except BlockingIOError:
            pass  # asked before the bell could be heard
        assert self._client is not None
        message = {"op": "stop", "reason": wanted[0], "grace_s": wanted[1]}
        try:
            self._client.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return asked  # it is ending anyway
        return wanted

    def _pass_on_quota(self) -> None:
        if self._live.quota_told:
            return
        try:
            os.eventfd_read(self._live.bell)
        except BlockingIOError:
            pass  # heard already
        self._live.quota_told = True
        assert self._client is not None
        message = {"op": "quota", "scratch_mib": self._live.grant.scratch_mib}
        try:
            self._client.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # it is ending anyway

    def _take(self, data: bytes) -> None:
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
                self._live.engine_pid = message["engine_pid"]
            if isinstance(message.get("usage"), dict):
                self._live.usage = message["usage"]
            if "tree" in message:
                self._look = message

    def _watch_for_losses(self) -> None:
        """End an attempt whose folder or log is not there any more: its result could not be read."""
        now = time.monotonic()
        if now < self._next_loss_look or self._live.stop_request is not None:
            return
        self._next_loss_look = now + _LOSS_EVERY_S
        lost = loss_of(self._live)
        self._losses = self._losses + 1 if lost else 0
        if lost and self._losses >= _LOSS_LOOKS:
            code, what = lost
            get_logger().warning(code, job=self._live.job.id, step=self._live.step.name, evidence=what)
            self._live.stop(code, self._watch.grace_s)

    def _watch_for_hangs(self) -> None:
        look, self._look = self._look, None
        signs = self._feed.signs()
        if look is not None and signs is not None:
            self._watch.look(hang_watch.observation(look, **signs))

    def read_progress(self) -> None:
        """Feed new output to the engine's reader."""
        self._save_due = self._feed.read() or self._save_due


def take_snapshot(attempt: AttemptFolder, engine: Engine) -> None:
    """Copy the engine's checkpoint files aside, whole or not at all. The two newest are kept. Raises OSError."""
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
