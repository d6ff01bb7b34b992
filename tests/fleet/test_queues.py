"""One contract for the queues: hints wake, wait, and get lost without harm. SQLite, Redis, and Redis with TLS."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qmrunner.errors import UsageError
from qmrunner.queue import HINT, REDIS_KEY, Queue
from tests import redis
from tests.sampling import share
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
        queue.on_notify(self._work)
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
            except Exception:  # as Huey does: it logs, waits and continues
                self._stop.wait(0.1)

    def hears(self) -> None:
        """Rings, as the beat does, until it was heard."""
        before = self.count

        def rung() -> bool:
            self.queue.notify()
            return self.count > before

        wait_for(rung, 30.0, "a hint")

    def close(self) -> None:
        self._stop.set()
        self.queue.wake.notify()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def consumer(place: Place, tmp_path: Path) -> Iterator[Consumer]:
    opened = Consumer(Queue(place.url, tmp_path))
    yield opened
    opened.close()


def test_a_hint_wakes_a_waiting_thread(consumer: Consumer) -> None:
    assert consumer.queue.notify()
    wait_for(lambda: consumer.count, 20.0, "the hint")


def test_a_hint_of_another_process_is_heard(place: Place, consumer: Consumer, tmp_path: Path) -> None:
    other = Queue(place.url, tmp_path / "elsewhere")
    assert other.notify()

    # The embedded queue is woken through the home's socket, which the daemon listens to.
    def heard() -> bool:
        consumer.queue.wake.notify()
        return consumer.count > 0

    wait_for(heard, 20.0, "the hint")


def test_hints_wait_for_a_consumer_that_is_not_there_yet(place: Place, tmp_path: Path) -> None:
    assert Queue(place.url, tmp_path).notify()
    later = Consumer(Queue(place.url, tmp_path))
    wait_for(lambda: later.count, 20.0, "the hint")
    later.close()


def test_a_queue_that_lost_everything_continues(place: Place, consumer: Consumer) -> None:
    consumer.hears()
    place.lose()
    consumer.hears()


# A TLS connection to a server that was killed is closed by the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_the_queue_ringing_fails_quietly_and_comes_right_when_it_is_back(
    place: Place, consumer: Consumer, tmp_path: Path
) -> None:
    consumer.hears()
    place.away()
    consumer.queue.notify()
    assert Queue(place.url, tmp_path).notify() is False
    place.back()
    wait_for(consumer.queue.notify, 20.0, "the queue to take hints again")
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
        assert Queue(server.url.partition("?")[0], tmp_path).notify() is False
        assert Queue(server.url, tmp_path).notify()


def test_a_wrong_password_rings_nowhere_and_harms_nothing(tmp_path: Path) -> None:
    with redis.server(tmp_path / "redis") as server:
        assert Queue(server.url.replace("c%40ret", "wrong"), tmp_path).notify() is False


def test_a_url_that_is_none_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        Queue("redis://host:port/0", tmp_path)
    assert refused.value.code == "queue_url"


# -- what others write there ----------------------------------------------------------------------------------------


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._path, "w")


# What Huey 2.5 to 3.5 looks up by name: revocations of a task and of all tasks, locks, rate limits, chords.
KEYS = (
    "r:1",
    "rt:queue.ring",
    "rt:qmrunner.queue.ring",
    "ring",
    "qmrunner.lock.ring",
    "qmrunner.rl.ring.w",
    "rt:hint",
    "rt:qmrunner.queue.consumer.hint",
    "chord:1:0",
)


def write_everywhere(url: str, element: bytes) -> None:
    """`element` into every place that Huey reads, as a process with write access can."""
    if url.startswith("sqlite"):
        from huey.storage import SqliteStorage

        SqliteStorage(filename=url.removeprefix("sqlite:///")).close()  # makes all of its tables
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            for queue in ("qmrunner", "huey"):
                file.execute("INSERT INTO task (queue, data, priority) VALUES (?, ?, 9)", (queue, element))
                file.execute("INSERT INTO schedule (queue, data, timestamp) VALUES (?, ?, 0)", (queue, element))
                for key in KEYS:
                    file.execute(
                        "INSERT OR REPLACE INTO kv (queue, key, value) VALUES (?, ?, ?)", (queue, key, element)
                    )
        return
    import redis as client

    with closing(client.Redis.from_url(url)) as server:
        server.lpush(REDIS_KEY, element)
        server.zadd("huey.schedule.qmrunner", {element: 0})
        for key in KEYS:
            server.hset("huey.results.qmrunner", key, element)
            server.set(f"huey.r.qmrunner.{key}", element)


@pytest.fixture
def huey_consumer(place: Place, tmp_path: Path) -> Iterator[tuple[Queue, list[int]]]:
    """Huey's own consumer with two workers and its scheduler, and a list that grows with each ring."""
    queue, heard = Queue(place.url, tmp_path), []
    queue.on_notify(lambda: heard.append(1))
    consumer = queue.huey.create_consumer(workers=2, worker_type="thread", periodic=True, scheduler_interval=1)
    consumer.scheduler.start()
    for _, thread in consumer.worker_threads:
        thread.start()
    yield queue, heard
    consumer.stop_flag.set()
    queue.wake.notify()
    for thread in (consumer.scheduler, *(thread for _, thread in consumer.worker_threads)):
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "junk",
    [b"", b"\0", bytes(range(256)), b"x" * (10 << 20), b"[1]", pickle.dumps({"id": 1}), HINT, "ü".encode()],
    ids=["empty", "nul", "binary", "10 MiB", "json", "pickle", "hint", "utf8"],
)
def test_whatever_lies_in_the_queue_rings_once_and_is_gone(
    place: Place, huey_consumer: tuple[Queue, list[int]], junk: bytes
) -> None:
    queue, heard = huey_consumer
    write_everywhere(place.url, junk)
    rung(queue, heard)
    wait_for(lambda: in_queue(place.url) == 0, 20.0, "an empty queue")


def rung(queue: Queue, heard: list[int]) -> None:
    """Wait until the worker has been set off; for the embedded queue wake it, as the daemon does by its socket."""

    def set_off() -> bool:
        queue.wake.notify()
        return bool(heard)

    wait_for(set_off, 20.0, "the element to ring")


def in_queue(url: str) -> int:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            return int(file.execute("SELECT count(*) FROM task WHERE queue = 'qmrunner'").fetchone()[0])
    import redis as client

    with closing(client.Redis.from_url(url)) as server:
        return int(server.llen(REDIS_KEY))


@pytest.mark.parametrize("protocol", share(range(pickle.HIGHEST_PROTOCOL + 1), 3))
def test_no_pickle_in_any_place_that_huey_reads_is_loaded(
    place: Place, huey_consumer: tuple[Queue, list[int]], tmp_path: Path, protocol: int
) -> None:
    queue, heard = huey_consumer
    canary = tmp_path / "canary"
    element = pickle.dumps(Canary(canary), protocol)
    pickle.loads(element).close()  # it does sing
    canary.unlink()
    write_everywhere(place.url, element)
    rung(queue, heard)
    wait_for(lambda: in_queue(place.url) == 0, 20.0, "an empty queue")
    # All that Huey has for looking into its storage, whatever calls it.
    huey = queue.huey
    seen = [huey.pending(), huey.scheduled(), huey.read_schedule(), huey.all_results(), huey.result("1")]
    seen += [huey.get(key, peek=True) for key in KEYS] + [huey.is_revoked(huey.hint_task), huey.hint_task.is_revoked()]
    assert not any(seen)
    assert not canary.exists()
    before = len(heard)
    queue.notify()
    wait_for(lambda: len(heard) > before, 20.0, "a hint of our own")
    assert not canary.exists()


def test_a_hint_of_an_earlier_version_rings(place: Place, huey_consumer: tuple[Queue, list[int]]) -> None:
    from huey.registry import Message

    queue, heard = huey_consumer
    write_everywhere(place.url, pickle.dumps(Message("1", "qmrunner.queue.ring", args=(), kwargs={})))
    rung(queue, heard)
    wait_for(lambda: in_queue(place.url) == 0, 20.0, "an empty queue")


def test_a_server_that_refuses_to_hand_out_hints_is_as_good_as_none(tmp_path: Path) -> None:
    """Of another type, full, read-only, without the right: this machine still hears itself."""
    with redis.server(tmp_path / "redis") as server:
        server.client().set(REDIS_KEY, "no list")
        consumer = Consumer(Queue(server.url, tmp_path), threads=2)
        for _ in range(3):
            consumer.hears()
        server.client().delete(REDIS_KEY)
        wait_for(consumer.queue.notify, 20.0, "the queue to take hints again")
        consumer.hears()
        consumer.close()


def test_a_flood_of_hints_is_forgotten_with_the_first(tmp_path: Path) -> None:
    """Any client that reaches the server can leave millions; each would wake a thread."""
    with redis.server(tmp_path / "redis") as server:
        for _ in range(20):
            server.client().lpush(REDIS_KEY, *[b"x"] * 10_000)
        consumer = Consumer(Queue(server.url, tmp_path), threads=1)
        consumer.hears()
        assert in_queue(server.url) <= 1000
        consumer.close()
