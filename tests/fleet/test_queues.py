"""One contract for the queues: hints wake, wait, and get lost without harm. SQLite, Redis, and Redis with TLS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qmrunner.errors import UsageError
from qmrunner.queue import Queue
from tests import redis
from tests.support import wait_for


@dataclass
class Place:
    """Where a queue lives, and how to lose what is in it, to take it away, and to bring it back."""

    url: str
    lose: Callable[[], None]
    away: Callable[[], None]
    back: Callable[[], None]


@pytest.fixture(params=["sqlite", "redis", "rediss"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        path = tmp_path / "queue.db"

        def lose() -> None:
            for one in tmp_path.glob("queue.db*"):
                one.unlink()

        def away() -> None:
            lose()
            path.mkdir()

        yield Place(f"sqlite:///{path}", lose, away, path.rmdir)
        return
    with redis.server(tmp_path / "redis", tls=request.param == "rediss") as server:

        def flush() -> None:
            server.client().flushall()

        def start() -> None:
            server.start()

        yield Place(server.url, flush, server.kill, start)


class Consumer:
    """Threads that take hints as Huey's do, and count how often there was work."""

    def __init__(self, queue: Queue, threads: int = 1) -> None:
        self.queue = queue
        self.count = 0
        self._stop = threading.Event()
        queue.on_ring(self._work)
        self._threads = [threading.Thread(target=self._take, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        self.count += 1

    def _take(self) -> None:
        while not self._stop.is_set():
            try:
                task = self.queue.huey.dequeue()
                if task is not None:
                    self.queue.huey.execute(task)
            except Exception:  # as Huey does: it logs, waits and goes on
                self._stop.wait(0.1)

    def hears(self) -> None:
        """Rings, as the beat does, until it was heard."""
        before = self.count

        def rung() -> bool:
            self.queue.ring()
            return self.count > before

        wait_for(rung, 30.0, "a hint")

    def close(self) -> None:
        self._stop.set()
        self.queue.wake.ring()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def consumer(place: Place, tmp_path: Path) -> Iterator[Consumer]:
    opened = Consumer(Queue(place.url, tmp_path))
    yield opened
    opened.close()


def test_a_hint_wakes_a_waiting_thread(consumer: Consumer) -> None:
    assert consumer.queue.ring()
    wait_for(lambda: consumer.count, 20.0, "the hint")


def test_a_hint_of_another_process_is_heard(place: Place, consumer: Consumer, tmp_path: Path) -> None:
    other = Queue(place.url, tmp_path / "elsewhere")
    assert other.ring()
    # The embedded queue is woken through the home's socket, which the daemon listens to.
    wait_for(lambda: consumer.queue.wake.ring() or consumer.count, 20.0, "the hint")


def test_hints_wait_for_a_consumer_that_is_not_there_yet(place: Place, tmp_path: Path) -> None:
    assert Queue(place.url, tmp_path).ring()
    later = Consumer(Queue(place.url, tmp_path))
    wait_for(lambda: later.count, 20.0, "the hint")
    later.close()


def test_a_queue_that_lost_everything_goes_on(place: Place, consumer: Consumer) -> None:
    consumer.hears()
    place.lose()
    consumer.hears()


def test_without_the_queue_ringing_fails_quietly_and_comes_right_when_it_is_back(
    place: Place, consumer: Consumer, tmp_path: Path
) -> None:
    consumer.hears()
    place.away()
    consumer.queue.ring()
    assert Queue(place.url, tmp_path).ring() is False
    place.back()
    wait_for(consumer.queue.ring, 20.0, "the queue to take hints again")
    consumer.hears()


# A TLS connection to a server that was killed is closed by the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("tls", [False, True], ids=["redis", "rediss"])
def test_without_redis_this_machine_still_hears_itself(tmp_path: Path, tls: bool) -> None:
    with redis.server(tmp_path / "redis", tls=tls) as server:
        consumer = Consumer(Queue(server.url, tmp_path), threads=2)
        consumer.hears()
        server.kill()
        for _ in range(3):
            consumer.hears()
        consumer.close()


def test_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    with redis.server(tmp_path / "redis", tls=True) as server:
        assert Queue(server.url.partition("?")[0], tmp_path).ring() is False
        assert Queue(server.url, tmp_path).ring()


def test_a_wrong_password_rings_nowhere_and_harms_nothing(tmp_path: Path) -> None:
    with redis.server(tmp_path / "redis") as server:
        assert Queue(server.url.replace("c%40ret", "wrong"), tmp_path).ring() is False


def test_a_url_that_is_none_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        Queue("redis://host:port/0", tmp_path)
    assert refused.value.code == "queue_url"
