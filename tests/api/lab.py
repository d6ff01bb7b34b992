"""A real server process on a free port, and what tests of it share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests import ready
from tests.prefork import preforked
from tests.support import ROOT, Home, wait_for

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
XTB = {"kind": "xtb", "files": [{"name": "water.xyz", "text": WATER}]}


class Server:
    """One `qmrunner serve` on a home, its output in a file."""

    def __init__(self, home: Home, output: Path, *words: str, **more: str) -> None:
        self.home = home
        self.output = output
        if "QMRUNNER_STORE_URL" not in {**home.extra, **more}:
            ready.home(home.path)
        variables = home.environment(PYTHONPATH=str(ROOT), **more)
        command = ["-m", "qmrunner", "serve", "--port", "0", *words]
        with open(output, "wb") as sink:
            self.process = preforked("serve").start(command, home.path.parent, variables, sink.fileno(), sink.fileno())
        self.url = str(wait_for(self._url, 60.0, "the server's address"))
        self.client = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def _url(self) -> str | None:
        assert self.process.poll() is None, self.text()
        return next((event["url"] for event in self.events("api_started")), None)

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON events it has printed, all or those called `name`."""
        found = [json.loads(line) for line in self.text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in found if name in (None, event["event"])]

    def submit(self, form: dict[str, Any] | None = None, **headers: str) -> str:
        """The id of a job that was accepted; water for xTB when no form is given."""
        answer = self.client.post("/v1/jobs", json=form or XTB, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/v1/jobs", params={"limit": 500}).json()["jobs"]
        return found

    def stop(self, deadline_s: float = 30.0) -> int:
        """SIGTERM, and its exit status."""
        self.process.terminate()
        return self.process.wait(deadline_s)


@contextmanager
def served(home: Home, *words: str, **more: str) -> Iterator[Server]:
    """A server that surely ends with the block."""
    server = Server(home, home.path.parent / f"{home.path.name}-serve-{time.monotonic_ns()}.out", *words, **more)
    try:
        yield server
    finally:
        server.client.close()
        server.process.kill()
        server.process.wait(10)


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of an answer that has this status and code, in our own shape."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code, error
    assert set(error) == {"code", "message", "evidence", "remedy"}
    assert error["message"]
    assert error["remedy"]
    return error


def events_of(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events from the lines of a response: `event`, `id` and `data`, read from JSON."""
    found: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and "event" in found:
            yield found
        if not line:
            found = {}
        elif name:
            found[name] = json.loads(value) if name == "data" else value
