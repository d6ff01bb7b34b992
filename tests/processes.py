"""A real spawner, and attempts handed to it as a consumer would, without daemon or store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.spawner_client import SpawnerClient
from qmrunner.guardian import process, process_tree, spawner
from qmrunner.guardian.process_identity import Identity
from qmrunner.host.sockets import bind_short, connect_short
from tests.support import wait_for

STAND_INS = Path(__file__).parent / "stand_ins"
HARD_TREE = ("sh", str(STAND_INS / "hard_tree.sh"))
HARD_TREE_MEMBERS = 5


class Attempt:
    """One attempt in the hands of a guardian."""

    def __init__(self, root: Path, number: int, argv: tuple[str, ...], **order: Any) -> None:
        self.folder = AttemptDirectory(root / "attempts" / str(number))
        self.log = root / f"{number}.log"
        self.marker = f"{root}/{number}"
        self.pid = 0
        self.folder.work.mkdir(parents=True)
        values: dict[str, Any] = {
            "argv": list(argv),
            "env": {"PATH": os.environ["PATH"], process_tree.MARKER: self.marker},
            "cwd": str(self.folder.work),
            "log": str(self.log),
            "marker": self.marker,
            "grace_s": 0.3,
            "adoption_s": 30.0,
            "preallocate_bytes": 0,
        }
        self.order = process.Order(**{**values, **order})
        (self.folder.path / process.COMMAND).write_text(json.dumps(self.order._asdict()))

    def exit(self, deadline_s: float = 8.0) -> dict[str, Any]:
        """The exit record, once it is there."""
        return wait_for(self.folder.exit_record, deadline_s, f"the exit record of {self.order.argv}") or {}

    def connect(self, deadline_s: float = 5.0) -> socket.socket:
        """A connection such as a consumer holds."""
        end = time.monotonic() + deadline_s
        while True:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connect_short(client, self.folder.path, process.SOCKET)
            except OSError:
                client.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)
                continue
            client.settimeout(5.0)
            return client

    def stop(self, reason: str = "cancel", grace_s: float = 0.3) -> None:
        with self.connect() as client:
            client.send(json.dumps({"op": "stop", "reason": reason, "grace_s": grace_s}).encode() + b"\n")

    def engine(self) -> Identity:
        record = wait_for(self.folder.record, 5.0, "the guardian's record") or {}
        return Identity.from_dict(record["engine"])

    def members(self, count: int = HARD_TREE_MEMBERS) -> list[Identity]:
        """Who they are that announced themselves in the log as `member PID`."""

        def found() -> list[Identity] | None:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            known = [process_tree.identity_of(int(line.split()[1])) for line in lines if line.startswith("member ")]
            return [one for one in known if one] if len(known) == count else None

        return wait_for(found, 5.0, f"{count} members") or []


class Spawner:
    """`python -m qmrunner.guardian.spawner`, started as the supervisor starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.attempts: list[Attempt] = []
        self.client = SpawnerClient(root)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        bind_short(self._listener, root, spawner.SOCKET)
        self._listener.listen(64)
        self._diary = open(root / "spawner.err", "ab")  # noqa: SIM115 closed in `close`
        # Signals that the parent of a daemon blocks or ignores must not affect an engine.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qmrunner.guardian.spawner", str(self._listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=self._diary,
                stderr=self._diary,
                pass_fds=(self._listener.fileno(),),
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def guard(self, *argv: str, fenced: bool = False, **order: Any) -> Attempt:
        """A new attempt, and its guardian asked for."""
        attempt = Attempt(self.root, len(self.attempts) + 1, argv, **order)
        self.attempts.append(attempt)
        if fenced:
            attempt.folder.fence()
        attempt.pid = self.client.spawn_guardian(attempt.folder.path)
        return attempt

    def close(self) -> None:
        for attempt in self.attempts:
            if attempt.folder.guardian_lives() and (identity := attempt.folder.guardian_identity()):
                with suppress(AssertionError):
                    process_tree.signal_tree(identity.pid, signal.SIGKILL)
                    process_tree.send(identity, signal.SIGKILL)
        if self.process.poll() is None:
            self.client.wait_for_orphans()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
        self._listener.close()
        self._diary.close()
        for attempt in self.attempts:
            assert process_tree.end_marked(attempt.marker)


@pytest.fixture
def spawning(tmp_path: Path) -> Iterator[Spawner]:
    started = Spawner(tmp_path)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def all_gone() -> Callable[..., float]:
    """Wait until none of the given processes lives; how long it took, seconds."""

    def wait(members: list[Identity], deadline_s: float = 5.0) -> float:
        began = time.monotonic()
        wait_for(lambda: not any(process_tree.is_alive(one) for one in members), deadline_s, "the end of every member")
        return time.monotonic() - began

    return wait
