"""The queue of hints: woken at once, and replaced when it is deleted or damaged."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmrunner.queue import Queue, Wake, listen_for_wake, send_wake
from tests.support import wait_for


class Rung:
    """A queue with one thread that takes hints, as a consumer thread does."""

    def __init__(self, root: Path) -> None:
        self.path = root / "queue.db"
        self.queue = Queue(f"sqlite:///{self.path}", root)
        self.storage = self.queue.huey.storage
        self.heard: list[float] = []
        self.problems: list[BaseException] = []
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self) -> None:
        while not self._stop.is_set():
            try:
                if self.storage.dequeue() is not None:
                    self.heard.append(time.monotonic())
            except Exception as problem:
                self.problems.append(problem)
                self._stop.wait(0.05)

    def ring(self) -> float:
        """How long a hint took to arrive, seconds."""
        count, began = len(self.heard), time.monotonic()
        self.queue.notify()
        wait_for(lambda: len(self.heard) > count, 8.0, "the hint")
        return self.heard[-1] - began

    def ring_until_heard(self) -> None:
        """As the beat does: a hint left while the file is being replaced may be lost, a later one is not."""
        count = len(self.heard)

        def heard() -> bool:
            self.queue.notify()
            return len(self.heard) > count + 1

        wait_for(heard, 8.0, "a hint")

    def close(self) -> None:
        self._stop.set()
        self.queue.wake.notify()
        self.thread.join(8)
        assert not self.thread.is_alive()
        self.storage.close()


@pytest.fixture
def rung(tmp_path: Path) -> Iterator[Rung]:
    opened = Rung(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def test_a_hint_arrives_at_once_however_long_it_was_quiet(rung: Rung) -> None:
    taken = sorted(rung.ring() for _ in range(20))
    assert taken[10] < 0.1
    assert taken[-1] < 1.0


def test_a_queue_deleted_in_use_is_replaced(rung: Rung) -> None:
    rung.ring()
    for _ in range(3):
        for path in rung.path.parent.glob("queue.db*"):
            path.unlink()
        rung.ring_until_heard()
        wait_for(rung.path.exists, 8.0, "a new queue file")
    assert rung.problems == []


def test_a_queue_replaced_by_another_process_is_the_queue_from_then_on(rung: Rung, tmp_path: Path) -> None:
    rung.ring()
    for path in rung.path.parent.glob("queue.db*"):
        path.unlink()
    other = Queue(f"sqlite:///{rung.path}", tmp_path / "nobody-listens")
    count = len(rung.heard)
    other.notify()
    rung.queue.wake.notify()
    wait_for(lambda: len(rung.heard) > count, 8.0, "the other process's hint")
    other.huey.storage.close()


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 400, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_queue_is_set_aside(rung: Rung, damage: bytes) -> None:
    rung.ring()
    before = rung.path.stat()
    rung.path.with_name("new").write_bytes(damage)
    os.replace(rung.path.with_name("new"), rung.path)
    assert rung.path.stat().st_ino != before.st_ino
    rung.ring_until_heard()
    assert rung.ring() < 6.0


def test_a_queue_scribbled_over_in_place_is_set_aside(rung: Rung) -> None:
    rung.ring()
    with open(rung.path, "r+b") as file:
        file.write(b"\xa5" * rung.path.stat().st_size)
    rung.ring_until_heard()
    assert rung.ring() < 6.0


def test_a_queue_cut_to_nothing_is_set_aside(rung: Rung) -> None:
    rung.ring()
    os.truncate(rung.path, 0)  # not the -shm: it is mapped, and to cut it ends every process that looks (SIGBUS)
    rung.ring_until_heard()
    assert rung.ring() < 6.0


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 400, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_queue_found_damaged_at_the_start_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "queue.db").write_bytes(damage)
    rung = Rung(tmp_path)
    try:
        assert rung.ring() < 6.0
    finally:
        rung.close()


def test_a_datagram_from_another_process_wakes(rung: Rung, tmp_path: Path) -> None:
    listener = listen_for_wake(tmp_path)
    send_wake(tmp_path)
    listener.settimeout(2)
    assert listener.recv(16) == b"w"
    listener.close()


def test_waking_an_absent_worker_is_no_problem(tmp_path: Path) -> None:
    send_wake(tmp_path)
    send_wake(tmp_path / "no-such-folder")
    listen_for_wake(tmp_path).close()  # a socket file on which no process listens any more
    send_wake(tmp_path)


def test_a_daemon_that_does_not_read_its_wake_socket_blocks_no_sender(tmp_path: Path) -> None:
    listener = listen_for_wake(tmp_path)
    began = time.monotonic()
    for _ in range(2000):
        send_wake(tmp_path)
    assert time.monotonic() - began < 2.0
    listener.close()


def test_ringing_never_fails(tmp_path: Path) -> None:
    queue = Queue(f"sqlite:///{tmp_path / 'queue.db'}", tmp_path)
    queue.huey.storage.close()
    for path in tmp_path.glob("queue.db*"):
        path.unlink()
    (tmp_path / "queue.db").mkdir()
    assert queue.notify() is False
    # The same when it is broken from the start, as for a job that has just been accepted.
    assert Queue(f"sqlite:///{tmp_path / 'queue.db'}", tmp_path).notify() is False


def test_a_ring_between_looking_and_waiting_is_not_missed() -> None:
    wake = Wake()
    seen = wake.count
    wake.notify()
    began = time.monotonic()
    assert wake.wait(seen, 5.0)
    assert time.monotonic() - began < 1.0
    assert not wake.wait(wake.count, 0.01)


def test_hints_wait_for_a_consumer_that_is_not_there_yet(tmp_path: Path) -> None:
    first = Queue(f"sqlite:///{tmp_path / 'queue.db'}", tmp_path)
    assert first.notify()
    first.huey.storage.close()
    later = Rung(tmp_path)
    try:
        wait_for(lambda: later.heard, 6.0, "the earlier hint")
    finally:
        later.close()
