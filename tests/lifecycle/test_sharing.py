"""Two machines and one SQLite file: the second daemon is refused, a rebooted one is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qmrunner.store import workers
from tests.lifecycle.lab import Lab
from tests.store.work import Work


@contextmanager
def beating(work: Work, worker: int) -> Iterator[None]:
    """A worker of another boot that is alive."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            with work.store.write() as connection:
                workers.beat(connection, work.store.now(), worker, 7)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def work(lab: Lab) -> Work:
    found = Work(lab.store)
    found.now = lab.store.now()
    return found


def test_a_daemon_is_refused_where_another_machine_beats_in_the_same_file(lab: Lab, work: Work) -> None:
    with beating(work, work.worker()):
        ended = lab.home.run("run")
    assert ended.returncode == 4
    assert "store_shared" in ended.stderr + ended.stdout
    assert "db copy" in ended.stderr + ended.stdout


def test_a_row_that_an_earlier_boot_left_keeps_no_worker_out(lab: Lab, work: Work) -> None:
    work.worker()
    lab.start()
    assert lab.ended(lab.submit(seconds=0)) == "succeeded"
