"""Bytes of strangers on a socket of a real server: answered with 400 or 405 in our form, or cut; never a fault, a
redirect to somewhere else, or a new series of metrics."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmrunner.api import wire
from tests.api.lab import Server, served
from tests.support import Home, wait_for

HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
_EVIL = b"evil.example"


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[Server]:
    """A server that has a token; `boss` may do everything."""
    secret = place.json("token", "add", "boss", "--scope", "admin")["secret"]
    with served(place) as running:
        running.client.headers["Authorization"] = f"Bearer {secret}"
        yield running


def connect(server: Server, seconds: float = 30.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=seconds)


def ask(server: Server, data: bytes) -> bytes:
    """All that the server answers to these bytes until it closes the connection."""
    with closing(connect(server)) as sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # cut while this was sent
        return rest(sock)


def rest(sock: socket.socket) -> bytes:
    found = b""
    try:
        while data := sock.recv(1 << 16):
            found += data
    except ConnectionResetError:
        pass
    return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def error(answer: bytes) -> dict[str, Any]:
    """The error of the first answer, which has our form, and no byte that a terminal would act on."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: ([0-9]+)", head)
    assert length is not None, answer
    body = body[: int(length[1])]
    assert b"application/json" in head, answer
    assert not re.search(rb"[^\x20-\x7e]", body), body
    found: dict[str, Any] = json.loads(body)["error"]
    assert set(found) == {"code", "message", "evidence", "remedy"}
    assert found["code"]
    assert found["message"]
    assert found["remedy"]
    return found


def get(path: bytes = b"/v1/jobs", method: bytes = b"GET", headers: bytes = HOST) -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\n" + headers + CLOSE + b"\r\n"


BAD_HOSTS = (
    b"[", b"]", b"[]", b"[::1", b"::1", b"[::g]", b"[::1]x", b"[1.2.3.4]", b"a:b", b"a:99999", b"a:-1", b"a:1:2",
    b"a b",    b"a/b", b"a@b", b"a?b", b"a#b", b"a\\b", b"a%00b", b"\xff", "ä".encode(), b"<a>", b"a,b", b"user:pw@a",
    b"[fe80::1%eth0]", b"a" * 300,
)  # fmt: skip
BAD_ORIGINS = (
    b"[", b"http://[", b"http://", b"http://a b", b"//a", b"a", b"http://a/b", b"http://a http://b", b"http://\xff",
    b"1://a",
)  # fmt: skip
BAD_METHODS = (b"get", b"G-T", b"GET1", b"x" * 5000, b"X" * 5000, b"\x1b[31m", b"G\xff", b"!#$%&'*+-.^_`|~")
BAD_TARGETS = (
    b"*", b"", b"v1/jobs", b"http://localhost/v1/jobs", b"http://evil.example/", b"evil.example:443", b"/%", b"/%g0",
    b"/%f", b"/v1/jobs?name=%zz", b"/%ff", b"/%c0%ae", b"/%ed%a0%80", b"/a b", b"/\x1b[31m", b"/\xff", b"/\x00",
    b"/" + b"a" * 70_000,
)  # fmt: skip
BAD_HEADERS = (
    b"a\r\n", b": a\r\n", b"a b: c\r\n", b"a: b\x00c\r\n", b"a: b\x1bc\r\n", b"a: b\x7fc\r\n", b"\xff: a\r\n",
    b"a: " + b"b" * 70_000 + b"\r\n", b"a: b\r\n" * 20_000, b"Content-Length: -1\r\n", b"Content-Length: x\r\n",
    b"Content-Length: 1\r\nContent-Length: 2\r\n", b"Content-Length: " + b"9" * 100 + b"\r\n",
    b"Transfer-Encoding: gzip\r\n",
)  # fmt: skip
MALFORMED = {
    **{f"host {host!r}": get(headers=b"Host: " + host + b"\r\n") for host in BAD_HOSTS},
    "two hosts": get(headers=HOST * 2),
    "no host": get(headers=b""),
    **{f"origin {origin!r}": get(headers=HOST + b"Origin: " + origin + b"\r\n") for origin in BAD_ORIGINS},
    "two origins": get(headers=HOST + b"Origin: null\r\n" * 2),
    "two tokens": get(headers=HOST + b"Authorization: Bearer a\r\n" * 2),
    "a token that is not ASCII": get(headers=HOST + b"Authorization: Bearer \xff\r\n"),
    "two types": get(headers=HOST + b"Content-Type: a/b\r\n" * 2),
    **{f"method {method[:30]!r}": get(method=method) for method in BAD_METHODS},
    **{f"target {target[:30]!r}": get(target) for target in BAD_TARGETS},
    **{f"header {header[:30]!r}": get(headers=HOST + header) for header in BAD_HEADERS},
    "another version": b"GET / HTTP/9.9\r\n" + HOST + CLOSE + b"\r\n",
    "no version": b"GET /\r\n\r\n",
    "no lines": b"\r\n" * 40_000,
    "noise": os.urandom(100) + b"\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a chunk without a size": get(b"/v1/tokens", b"POST", HOST + b"Transfer-Encoding: chunked\r\n") + b"zz\r\nx\r\n",
}


def series(server: Server) -> set[str]:
    """The labels under which requests are counted, without this question's own."""
    text = server.client.get("/metrics").text
    return set(re.findall(r"^qmrunner_api_requests_total\{(.*)\}", text, re.MULTILINE))


@pytest.fixture
def unharmed(server: Server) -> Iterator[None]:
    """No fault is in the log, and the server answers, after what the test did."""
    yield
    assert server.client.get("/healthz").status_code == 200
    assert server.events("internal_error") == []
    assert "Traceback" not in server.text()
    assert not [event for event in server.events("request") if event.get("status", 0) >= 500]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_answered_with_400(server: Server, name: str) -> None:
    answer = ask(server, MALFORMED[name])
    assert status(answer) == 400, answer
    assert error(answer)["code"] in {"bad_request", "bad_header", "bad_method", "bad_target"}
    assert b"location" not in answer.lower()


@pytest.mark.usefixtures("unharmed")
def test_malformed_and_unknown_requests_make_no_series_of_metrics(server: Server) -> None:
    server.client.get("/metrics")
    server.client.get("/nowhere")
    server.client.request("PUT", "/v1/jobs")
    ask(server, get(headers=b"Host: [\r\n"))
    before = series(server)
    for number in range(50):
        ask(server, get(method=b"X" * (number % 20 + 1)))
        ask(server, get(b"/nowhere/%d" % number))
        ask(server, get(headers=b"Host: [%d\r\n" % number))
        ask(server, get(b"/v1/jobs", b"ABCDEFGHIJ"[number % 10 :][:5] + b"A"))
    after = series(server)
    assert len(after - before) <= 1, after - before
    assert len(server.text()) < 10**7


KNOWN = (
    b"/metrics",
    b"/v1/jobs",
    b"/healthz",
    b"/docs",
    b"/openapi.json",
    b"/v1/jobs/abcd2345",
    b"/v1/tokens",
    b"/readyz",
)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("path", KNOWN)
def test_nothing_is_redirected_and_no_host_of_the_client_comes_back(server: Server, path: bytes) -> None:
    secret = server.client.headers["Authorization"].encode()
    for changed in (path + b"/", b"/" + path, path + b"//", path + b"/.", path + b"%2f", path + b"/?a=b"):
        for more in (b"", b"X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n"):
            answer = ask(
                server, get(changed, headers=b"Host: evil.example\r\nAuthorization: " + secret + b"\r\n" + more)
            )
            assert status(answer) in (400, 404, 405)
            assert error(answer)["code"]
            assert b"location" not in answer.lower()
            assert _EVIL not in answer


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"PATCH", b"PROPFIND", b"INVENTED"])
@pytest.mark.parametrize("path", KNOWN)
def test_other_methods_are_answered_with_405_and_with_what_there_is(server: Server, path: bytes, method: bytes) -> None:
    answer = ask(server, get(path, method, HOST + b"X-Secret: echo\r\n"))
    assert status(answer) == 405
    assert re.search(rb"\r\nallow: [A-Z, ]+\r\n", answer)
    assert b"echo" not in answer
    if method != b"HEAD":
        assert error(answer)["code"] == "method_not_allowed"


HEADERS = st.sampled_from([b"Host", b"Origin", b"Authorization", b"Content-Type", b"Content-Length", b"Idempotency-Key",
                           b"Last-Event-ID", b"Transfer-Encoding", b"Expect", b"Connection", b"X"])  # fmt: skip


@pytest.mark.usefixtures("unharmed")
def test_no_bytes_make_a_fault(server: Server) -> None:
    @settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from([b"GET", b"POST", b"DELETE"]) | st.binary(max_size=8),
        st.sampled_from(KNOWN) | st.binary(max_size=20).map(lambda one: b"/" + one),
        st.lists(st.tuples(HEADERS, st.binary(max_size=20)), max_size=3),
        st.binary(max_size=50),
    )
    def one(method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        answer = ask(server, method + b" " + path + b" HTTP/1.1\r\n" + HOST + lines + CLOSE + b"\r\n" + body)
        assert status(answer) < 500, answer
        if status(answer) >= 400 and method != b"HEAD":
            error(answer)

    one()


@pytest.mark.usefixtures("unharmed")
def test_a_refusal_is_read_by_a_client_that_still_sends(server: Server) -> None:
    """Of a body of 63 MiB nothing is kept, and what comes behind the refusal is dropped, not answered by a reset."""
    head = b"POST /v1/tokens HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with closing(connect(server)) as sock:
        sock.sendall(head % (63 << 20) + b" " * (1 << 20))
        answer = rest(sock)
    assert status(answer) == 401
    assert error(answer)["code"] == "token_needed"
    assert b"connection: close" in answer


@pytest.mark.usefixtures("unharmed")
def test_no_continue_is_sent_before_a_refusal(server: Server) -> None:
    lines = HOST + b"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n"
    assert status(ask(server, get(b"/v1/tokens", b"POST", lines))) == 401


def test_deadlines_end_what_is_never_finished(server: Server) -> None:
    """A head without an end, a silent connection, one that sends a byte at times, and a body that stops."""
    secret = server.client.headers["Authorization"].encode()
    headers = HOST + b"Authorization: " + secret + b"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    begun = {
        "nothing": b"",
        "half a line": b"GET /heal",
        "half a head": b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
        "a small body": get(b"/v1/tokens", b"POST", headers) + b"{",
        "an upload": get(b"/v1/jobs", b"POST", headers) + b"{",
    }
    socks = {name: connect(server, 60.0) for name in begun}
    dripping = connect(server, 60.0)
    began = time.monotonic()
    for name, data in begun.items():
        socks[name].sendall(data)

    def dripped() -> bool:
        try:
            dripping.sendall(b"G")
            time.sleep(0.3)
            return False
        except OSError:
            return True

    wait_for(dripped, 3 * wire.HEAD_S, "the end of a connection that drips")
    answers = {name: rest(sock) for name, sock in socks.items()}
    assert time.monotonic() - began < 40.0
    for name in ("nothing", "half a line", "half a head"):
        assert answers[name] == b""
    for name in ("a small body", "an upload"):
        assert status(answers[name]) == 408
        assert error(answers[name])["code"] == "body_too_slow"
    for sock in (*socks.values(), dripping):
        sock.close()


@pytest.mark.usefixtures("unharmed")
def test_more_connections_than_there_may_be_end_the_idle_ones_and_never_a_new_request(server: Server) -> None:
    idle = [connect(server) for _ in range(wire.MOST_CONNECTIONS + 50)]
    try:
        with closing(connect(server)) as sock:
            sock.sendall(get(b"/healthz"))
            assert status(rest(sock)) == 200
    finally:
        for one in idle:
            one.close()
