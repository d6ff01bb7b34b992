"""The one way in: for every route there is, nothing of a body is received before token and scope are known."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import Route

from qmrunner.api.access import _network, needs, open_to_all
from qmrunner.api.application import build
from qmrunner.api.gate import Way, ways
from qmrunner.api.service import Service
from qmrunner.app import App
from qmrunner.settings import Settings
from qmrunner.store import tokens
from tests.support import Home

TABLE: list[Way] = build(Service(App(Settings()), trusts_everybody=True)).state.ways
ASKED = [(way, method) for way in TABLE for method in sorted(way.methods)]
SMALLER = {"read": None, "write": "read", "admin": "write"}


class Guarded:
    """An application with a token of each scope, asked without a server: what is received can be counted."""

    def __init__(self, home: Home) -> None:
        self.app = App(home.settings)
        store = self.app.open_store(create=True)
        with store.write() as connection:
            self.secrets = {scope: tokens.add(connection, store.now(), scope, scope) for scope in tokens.SCOPES}
        self.api: FastAPI = build(Service(self.app, trusts_everybody=True))

    def ask(self, method: str, path: str, *headers: tuple[bytes, bytes], token: str | None = None) -> Answer:
        sent = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers]
        if token is not None:
            sent.append((b"authorization", f"Bearer {token}".encode()))
        answer = Answer()
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "headers": sent, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        asyncio.run(self.api(scope, answer.receive, answer.send))
        return answer


class Answer:
    """What an application sent, and how often it asked for the body, which has no end."""

    def __init__(self) -> None:
        self.received = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        assert self.received < 10_000, "a body without an end is read for ever"
        return {"type": "http.request", "body": b" " * 65536, "more_body": True}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.headers |= dict(message.get("headers", []))
        self.body += message.get("body", b"")

    def code(self) -> str:
        error = json.loads(self.body)["error"]
        assert set(error) == {"code", "message", "evidence", "remedy"}
        return str(error["code"])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(Home(tmp_path_factory.mktemp("gate") / "home", {"QMRUNNER_API_RATE_PER_MINUTE": "100000"}))
    yield made
    made.app.store.close()


def example(way: Way) -> str:
    """A path that this way answers."""
    path = re.sub(r"{[a-z_]+(:path)?}", "abcd2345", way.path)
    assert way.pattern.match(path)
    return path


def named(asked: list[tuple[Way, str]]) -> list[str]:
    return [f"{method} {way.path}" for way, method in asked]


GUARDED = [(way, method) for way, method in ASKED if way.needs.scope is not None]
BODY = ((b"transfer-encoding", b"chunked"),)


@pytest.mark.parametrize(("way", "method"), GUARDED, ids=named(GUARDED))
def test_no_body_is_received_before_token_and_scope_are_known(guarded: Guarded, way: Way, method: str) -> None:
    assert way.needs.scope is not None
    smaller = SMALLER[way.needs.scope]
    refusals = [(None, 401, "token_needed"), ("qmr_guess", 401, "token_refused")]
    if smaller is not None:
        refusals.append((guarded.secrets[smaller], 403, "scope_too_small"))
    for token, status, code in refusals:
        answer = guarded.ask(method, example(way), *BODY, token=token)
        assert (answer.status, answer.code(), answer.received) == (status, code, 0)


@pytest.mark.parametrize(("way", "method"), ASKED, ids=named(ASKED))
def test_what_is_malformed_or_declared_too_large_is_refused_unread(guarded: Guarded, way: Way, method: str) -> None:
    secret = guarded.secrets["admin"]
    for headers, code in {
        ((b"host", b"again"),): "bad_header",
        ((b"origin", b"]["),): "bad_header",
        ((b"authorization", "Bearer ü".encode()),): "bad_header",
    }.items():
        answer = guarded.ask(method, example(way), *headers, *BODY)
        assert (answer.status, answer.code(), answer.received) == (400, code, 0)
    if way.needs.body != 0:
        answer = guarded.ask(method, example(way), (b"content-length", b"99999999999"), token=secret)
        assert (answer.status, answer.code(), answer.received) == (413, "body_too_large", 0)


WITH_BODY = [(way, method) for way, method in ASKED if way.needs.body is not None and way.path != "/v1/events/stream"]


@pytest.mark.parametrize(("way", "method"), WITH_BODY, ids=named(WITH_BODY))
def test_a_body_without_an_end_is_never_kept(guarded: Guarded, way: Way, method: str) -> None:
    """Where a small body is read, and where none is; streams are left out: they answer until the job or the server
    ends. 409: the home of this application is not beside it."""
    answer = guarded.ask(method, example(way), *BODY, token=guarded.secrets["admin"])
    assert answer.received <= 2
    assert answer.status in ({413} if way.needs.body else {200, 204, 400, 404, 409, 422})
    if way.needs.body:
        assert answer.headers[b"connection"] == b"close"


def test_the_table_has_every_route_that_is_described(guarded: Guarded) -> None:
    described = {
        (path, method.upper()) for path, methods in guarded.api.openapi()["paths"].items() for method in methods
    }
    table = {(re.sub(":path}", "}", way.path), method) for way in TABLE for method in way.methods}
    assert table - described == {("/docs", "GET"), ("/openapi.json", "GET")}
    assert described <= table
    assert {way.path for way in TABLE if way.needs.scope is None} == {"/healthz", "/readyz"}
    assert {way.path for way in TABLE if way.needs.body != 0} == {
        "/v1/check", "/v1/compare", "/v1/jobs", "/v1/jobs/actions", "/v1/jobs/many", "/v1/jobs/{job_id}/measured",
        "/v1/tokens",
    }  # fmt: skip


async def _nothing() -> None: ...


@pytest.mark.parametrize("dependencies", [[], [needs("read"), open_to_all], [needs("read"), needs("write")]])
def test_a_new_route_that_does_not_say_whom_it_is_for_keeps_the_server_from_starting(dependencies: list[Any]) -> None:
    router = APIRouter()
    router.add_api_route("/new", _nothing, dependencies=[Depends(one) for one in dependencies])
    with pytest.raises(TypeError):
        ways(router.routes)
    with pytest.raises(TypeError):
        ways([Route("/new", _nothing)])


def test_a_route_that_is_added_past_the_table_is_unknown(guarded: Guarded) -> None:
    guarded.api.add_api_route("/later", _nothing)
    assert guarded.ask("GET", "/later").code() == "route_unknown"


@pytest.mark.parametrize(
    ("address", "client"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("unknown", "unknown"), ("::1", "::/64")],
)
def test_many_addresses_of_one_network_are_one_client(address: str, client: str) -> None:
    assert _network(address) == client
