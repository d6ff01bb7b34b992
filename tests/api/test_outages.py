"""A store that is away costs an answer 503 in time, and nothing once it is back."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tests import postgres
from tests.api.lab import XTB, Server, refused, served
from tests.support import Home, missing, wait_for

_SOCKET = ".s.PGSQL.5432"


@pytest.fixture
def on_server(home: Home) -> Iterator[Home]:
    """A home whose store is on a separate PostgreSQL server, as when the API runs apart from the workers."""
    if postgres.program("postgres") is None:
        missing("PostgreSQL is not installed")
    with postgres.server() as made:
        url = made.url
        home.extra["QMRUNNER_STORE_URL"] = url
        home.extra["QMRUNNER_API_RATE_PER_MINUTE"] = "100000"
        yield home


def postmaster(home: Home) -> int:
    folder = unquote(home.extra["QMRUNNER_STORE_URL"].split("host=")[1])
    return int(Path(folder, "data", "postmaster.pid").read_text().split()[0])


class Wire:
    """Passes bytes between a socket in `folder` and a server's; `cut` keeps them back: the worst way to be away."""

    def __init__(self, folder: Path, behind: str) -> None:
        self.through = threading.Event()
        self.through.set()
        self._behind = f"{behind}/{_SOCKET}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._behind)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            with source:
                while data := source.recv(1 << 16):
                    self.through.wait()
                    target.sendall(data)
                target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other direction was first

    @contextmanager
    def cut(self) -> Iterator[None]:
        self.through.clear()
        try:
            yield
        finally:
            self.through.set()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def wire(on_server: Home) -> Iterator[Wire]:
    """What the home's store is reached through."""
    behind = on_server.extra["QMRUNNER_STORE_URL"].split("host=")[1]
    with tempfile.TemporaryDirectory(prefix="qmwire-") as folder:
        made = Wire(Path(folder), behind)
        on_server.extra["QMRUNNER_STORE_URL"] = f"postgresql://postgres@/postgres?host={folder}"
        yield made
        made.close()


def ask(server: Server, method: str, path: str, **more: Any) -> httpx.Response:
    return server.client.request(method, path, **more)


def test_jobs_are_submitted_listed_and_moved_on_a_store_of_several_machines(on_server: Home) -> None:
    with served(on_server) as server:
        job = server.submit(XTB, **{"Idempotency-Key": "k"})
        assert server.submit(XTB, **{"Idempotency-Key": "k"}) == job
        assert [row["id"] for row in server.jobs()] == [job]
        assert ask(server, "POST", f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
        events = ask(server, "GET", f"/v1/jobs/{job}/events").json()["events"]
        assert [one["event"] for one in events] == ["job_accepted", "cancel_requested", "job_cancelled"]
        assert ask(server, "GET", f"/v1/jobs/{job}/files/input/water.xyz").status_code == 200
        assert "qmrunner_queue_depth 0.0" in ask(server, "GET", "/metrics").text
        for name in ("a%00b", "%00"):
            assert ask(server, "GET", f"/v1/jobs/{name}").status_code == 404


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_silent_store_is_answered_with_503_and_asked_again_when_it_is_back(on_server: Home, wire: Wire) -> None:
    with served(on_server) as server:
        job = server.submit()
        with wire.cut():
            questions = [("GET", "/readyz"), ("GET", f"/v1/jobs/{job}"), ("POST", f"/v1/jobs/{job}/cancel")]
            began = time.monotonic()
            with ThreadPoolExecutor(len(questions)) as people:
                answers = [people.submit(ask, server, method, path) for method, path in questions]
                assert ask(server, "GET", "/healthz").status_code == 200  # while they wait
                for answer in answers:
                    refused(answer.result(), 503, "store_unavailable")
                    assert answer.result().headers["retry-after"]
            assert time.monotonic() - began < 50  # the client's own patience is 60
        wait_for(lambda: ask(server, "GET", "/readyz").status_code == 200, 60.0, "the store is back")
        assert ask(server, "GET", f"/v1/jobs/{job}").status_code == 200
        with wire.cut():
            refused(ask(server, "GET", f"/v1/jobs/{job}"), 503, "store_unavailable")
            assert server.stop() == 0  # whatever still waits for the store


@pytest.mark.timeout(240)
def test_a_store_that_has_gone_is_answered_with_503_and_its_streams_wait_for_it(on_server: Home) -> None:
    with served(on_server) as server:
        job = server.submit()
        with server.client.stream("GET", f"/v1/jobs/{job}/events/stream") as stream:
            lines = stream.iter_lines()
            assert any("job_accepted" in line for line in lines)
            os.kill(postmaster(on_server), signal.SIGINT)
            wait_for(lambda: ask(server, "GET", "/readyz").status_code == 503, 30.0, "the end of the store")
            refused(ask(server, "POST", "/v1/jobs", json=XTB), 503, "store_unavailable")
            assert server.stop() == 0
            assert any("server_stops" in line for line in lines)


def test_a_sqlite_store_that_another_program_holds_is_read_on_and_not_written(home: Home) -> None:
    with served(home) as server:
        job = server.submit()
        other = sqlite3.connect(home.path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            refused(ask(server, "POST", f"/v1/jobs/{job}/cancel"), 503, "store_unavailable")
            assert ask(server, "GET", f"/v1/jobs/{job}").json()["job"]["state"] == "queued"
            assert ask(server, "GET", "/readyz").status_code == 200
        finally:
            other.rollback()
            other.close()
        assert ask(server, "POST", f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"


def test_a_store_that_is_not_there_ends_the_start_with_4(home: Home) -> None:
    home.extra["QMRUNNER_STORE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    ended = home.run("serve", "--port", "0", timeout_s=60)
    assert ended.returncode == 4
    assert ended.stderr.startswith("qmrunner: store_unavailable")
