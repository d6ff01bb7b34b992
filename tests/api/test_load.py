"""One token, or one address without one, cannot keep another waiting: real bodies, real children, real streams."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmrunner.api.upload import sandbox_worker
from qmrunner.guardian import process_tree
from tests.api.lab import WATER, XTB, Server, refused, served
from tests.sampling import share
from tests.support import Home, ended, wait_for

# How long another client waits: measured with the machine to itself.
pytestmark = pytest.mark.alone
SLOW = {"kind": "nmr", "smiles": "C" * 9999, "max_atoms": 100_000}
MIB = 1 << 20


class Shared:
    """A server with tokens, and who asks with them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.secrets = {
            name: str(server.home.json("token", "add", name, "--scope", "write")["secret"]) for name in ("hog", "other")
        }

    def ask(self, name: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {} if name is None else {"Authorization": f"Bearer {self.secrets[name]}"}
        headers |= more.pop("headers", {})
        with httpx.Client(base_url=self.server.url, timeout=120.0, trust_env=False) as client:
            return client.request(method, path, headers=headers, **more)

    def children(self) -> list[int]:
        """The parent of those that check, and its children."""
        parents = process_tree.children_of(self.server.process.pid)
        return [pid for parent in parents for pid in (parent, *process_tree.children_of(parent))]

    def memory_mib(self) -> int:
        """The most that the server or a child of it has had resident."""
        found = [0]
        for pid in (self.server.process.pid, *self.children()):
            text = Path(f"/proc/{pid}/status").read_text()
            found += [int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith("VmHWM")]
        return max(found)


@pytest.fixture
def shared(home: Home) -> Iterator[Shared]:
    home.extra |= {
        "QMRUNNER_API_RATE_PER_MINUTE": "100000",
        "QMRUNNER_XTB": "/bin/true",
        "QMRUNNER_NWCHEM": "/bin/true",
    }
    with served(home) as server:
        yield Shared(server)


# In a separate process: the interpreter of the tests is busy with sending.
WATCH = """
import http.client, sys, time
while True:
    began = time.monotonic()
    connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    print(time.monotonic() - began, flush=True)
    time.sleep(0.02)
"""


@contextmanager
def watched(server: Server) -> Iterator[None]:
    """/healthz is answered quickly all through the block: 19 of 20 times within half a second, always within two."""
    with ended(
        subprocess.Popen([sys.executable, "-c", WATCH, server.url[7:]], stdout=subprocess.PIPE, text=True)
    ) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        yield
        assert watcher.poll() is None
        watcher.terminate()
        times = sorted(float(line) for line in watcher.stdout)
    assert len(times) >= 10
    assert times[len(times) * 19 // 20] < 0.5
    assert times[-1] < 2.0


def test_45_slow_molecules_of_one_token_keep_no_other_waiting_and_end_with_the_server(shared: Shared) -> None:
    answers: list[httpx.Response] = []

    def hand_in() -> None:
        try:
            answers.append(shared.ask("hog", "POST", "/v1/jobs", json=SLOW))
        except httpx.HTTPError:
            return  # the server has gone

    senders = [threading.Thread(target=hand_in, daemon=True) for _ in range(45)]
    for one in senders:
        one.start()
    wait_for(lambda: len(answers) >= 9, 30.0, "the answers to what is over the share")
    for one in answers:
        refused(one, 429, "too_many_uploads")
        assert int(one.headers["retry-after"]) > 0
    for method, path, more in (
        ("POST", "/v1/jobs", {"json": XTB}),
        ("POST", "/v1/jobs", {"json": {"kind": "nmr", "smiles": "CCO"}}),
        ("GET", "/v1/jobs", {}),
    ):
        assert shared.ask("other", method, path, **more).status_code in (200, 201)
    refused(shared.ask("hog", "POST", "/v1/jobs", json=XTB), 429, "too_many_uploads")
    children = shared.children()
    assert len(children) >= 3
    shared.server.process.kill()
    wait_for(lambda: not [pid for pid in children if alive(pid)], 5.0, "the end of children whose server was killed")
    for one in senders:
        one.join(30.0)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# Made when they are sent: each is as large as a body may be.
BODIES: dict[str, Callable[[], bytes]] = {
    "a list of objects": lambda: b"[" + b"{}," * (20 * MIB) + b"{}]",
    "one string": lambda: json.dumps({**XTB, "files": [{"name": "a.xyz", "text": WATER + "x" * (60 * MIB)}]}).encode(),
    "escapes": lambda: b'{"kind":"xtb","files":[{"name":"a.xyz","text":"' + b'\\"' * (30 * MIB) + b'"}]}',
    "levels": lambda: b"[" * (60 * MIB),
}


@pytest.mark.parametrize("name", share(BODIES, len(BODIES)))
def test_large_json_delays_no_other_client_and_takes_no_memory_of_the_server(shared: Shared, name: str) -> None:
    headers, body = {"content-type": "application/json"}, BODIES[name]()
    with watched(shared.server), ThreadPoolExecutor(3) as people:
        sent = [people.submit(shared.ask, "hog", "POST", "/v1/jobs", content=body, headers=headers) for _ in range(3)]
        codes = {one.result().status_code for one in sent}
    assert codes <= {201, 422}
    assert shared.memory_mib() < 600
    assert sorted((shared.server.home.path / "run").glob("upload-*")) == []


def test_large_bodies_without_a_token_are_refused_unread(shared: Shared) -> None:
    before = shared.memory_mib()
    body = b"[" + b"{}," * (21 * MIB) + b"{}]"
    with watched(shared.server), ThreadPoolExecutor(3) as people:
        sent = [
            people.submit(shared.ask, None, "POST", path, content=body, headers={"content-type": "application/json"})
            for path in ("/v1/tokens", "/v1/jobs", "/v1/tokens")
        ]
        for one in sent:
            problem = one.exception()
            if problem is None:
                refused(one.result(), 401, "token_needed")
            else:  # it was still sending when the server had long answered
                assert isinstance(problem, httpx.WriteError | httpx.ReadError)
    assert shared.memory_mib() < before + 30


def test_streams_of_one_token_leave_room_for_others(shared: Shared) -> None:
    job = shared.ask("other", "POST", "/v1/jobs", json=XTB).json()["id"]
    port = int(shared.server.url.rsplit(":", 1)[1])

    def stream(name: str) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=60.0)
        token = f"Authorization: Bearer {shared.secrets[name]}"
        sock.sendall(f"GET /v1/jobs/{job}/events/stream HTTP/1.1\r\nHost: localhost\r\n{token}\r\n\r\n".encode())
        return sock

    opened = [stream("hog") for _ in range(215)]
    first = [one.recv(12) for one in opened]
    assert first.count(b"HTTP/1.1 200") == 50
    assert first.count(b"HTTP/1.1 429") == 165
    with closing(stream("other")) as sock:
        assert sock.recv(12) == b"HTTP/1.1 200"
        began = time.monotonic()
        assert shared.ask("other", "GET", "/v1/jobs").status_code == 200
        assert time.monotonic() - began < 2.0
        for one in opened:
            one.close()
        wait_for(
            lambda: "qmrunner_api_streams 1.0" in shared.ask("other", "GET", "/metrics").text, 30.0, "closed streams"
        )


def test_uploads_in_progress_of_one_token_leave_room_for_others(shared: Shared) -> None:
    port = int(shared.server.url.rsplit(":", 1)[1])
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shared.secrets['hog']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{{"
    )
    begun = []
    for _ in range(60):
        sock = socket.create_connection(("127.0.0.1", port), timeout=60.0)
        sock.sendall(head.encode())
        begun.append(sock)
    wait_for(lambda: len(list((shared.server.home.path / "run").glob("upload-*"))) == 4, 30.0, "the share of uploads")
    began = time.monotonic()
    assert shared.ask("other", "POST", "/v1/jobs", json=XTB).status_code == 201
    assert time.monotonic() - began < 2.0
    for one in begun:
        one.close()
    wait_for(lambda: not list((shared.server.home.path / "run").glob("upload-*")), 30.0, "the end of all uploads")


def test_what_reads_strangers_bytes_has_no_secret_in_its_environment_and_bounds(home: Home) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "hidden", "PGPASSWORD": "hidden", "QMRUNNER_XTB": "/bin/true"}
    with served(home, **secrets) as server:
        server.submit()
        (parent,) = process_tree.children_of(server.process.pid)
        assert b"hidden" not in Path(f"/proc/{parent}/environ").read_bytes()
        limits = Path(f"/proc/{parent}/limits").read_text()
        assert f"Max address space         {sandbox_worker.MEMORY_BYTES}" in limits
        assert "Max core file size        0" in limits


def test_uploads_that_a_killed_server_left_behind_are_removed_and_young_ones_stay(home: Home) -> None:
    old, young = home.path / "run" / "upload-old", home.path / "run" / "upload-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "body").write_text("x")
    os.utime(old, (0, 0))
    with served(home):
        assert young.exists()
        assert not old.exists()
