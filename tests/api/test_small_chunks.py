"""A body in the smallest chunks: measured with the machine to itself."""

from __future__ import annotations

import threading
import time

import pytest

from tests.api.lab import Server
from tests.api.test_wire import HOST, ask, get, server, status, unharmed

__all__ = ["server", "unharmed"]  # fixtures

pytestmark = pytest.mark.alone


@pytest.mark.usefixtures("unharmed")
def test_a_body_in_the_smallest_chunks_is_cut_and_keeps_no_client_waiting(server: Server) -> None:
    secret = server.client.headers["Authorization"].encode()
    head = get(b"/v1/jobs", b"POST", HOST + b"Authorization: " + secret +
               b"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n")  # fmt: skip
    answers: list[bytes] = []
    chunks = b"1\r\nx\r\n" * 200_000
    senders = [threading.Thread(target=lambda: answers.append(ask(server, head + chunks))) for _ in range(8)]
    for sender in senders:
        sender.start()
    longest = 0.0
    while any(sender.is_alive() for sender in senders):
        began = time.monotonic()
        assert server.client.get("/healthz").status_code == 200
        longest = max(longest, time.monotonic() - began)
    assert longest < 2.0
    assert len(answers) == 8
    assert {status(answer) for answer in answers} <= {400, 0}
