"""Answers that no server of qmrunner sends: they end in an error with a code, write nothing outside, and end."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from qmrunner.client.blocking import Client
from qmrunner.client.wire import BlockingWire
from qmrunner.errors import QmrunnerError

JOB: dict[str, Any] = {"id": "abc", "kind": "nmr", "state": "succeeded"}
Answering = Callable[[httpx.Request], httpx.Response]


@contextmanager
def client(answer: Answering) -> Iterator[Client]:
    """A client whose requests a function answers."""
    made = Client("http://127.0.0.1:1", token="x" * 40, patience=0.0)
    wire = made._own._session.wire
    assert isinstance(wire, BlockingWire)
    wire._http._transport = httpx.MockTransport(answer)
    with made:
        yield made


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"job": []}', b'{"job": null}', b"[" * 100_000, b"\xff\xfe", b"NaN"],
)
def test_an_answer_that_is_not_qmrunners_is_an_error_with_a_code(body: bytes) -> None:
    with client(lambda _: httpx.Response(200, content=body)) as one:
        for ask in (lambda: one.job("abc"), one.jobs):
            with pytest.raises(QmrunnerError) as caught:
                ask()
            assert caught.value.code == "not_qmrunner"


def test_the_token_does_not_follow_a_redirect() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(302, headers={"Location": "http://evil.example/"})

    with client(answer) as one, pytest.raises(QmrunnerError):
        one.job("abc")
    assert set(seen) == {"127.0.0.1"}


def test_a_download_writes_below_its_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "inside"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    names = ["../a", str(tmp_path / "b"), "x/../../c", "link/d", "", ".", "..", "a\0b", "\ud800", 1, None, "good"]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/files"):
            return httpx.Response(200, content=json.dumps({"files": [{"name": name, "bytes": 1} for name in names]}))
        return (
            httpx.Response(200, content=b"x")
            if "/files/" in request.url.path
            else httpx.Response(200, json={"job": JOB})
        )

    with client(answer) as one:
        assert one.job("abc").download(root) == [root / "good"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["good"]


def test_pages_and_events_that_repeat_for_ever_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, json={"events": [{"id": 1, "event": "x"}]})
        if request.url.path.endswith("/jobs"):
            return httpx.Response(200, json={"jobs": [], "next": "again"})
        return httpx.Response(200, json={"job": JOB})

    with client(answer) as one:
        assert len(one.jobs()) == 0
        assert 0 < len(list(one.job("abc").events())) < 3


def test_an_id_of_the_server_is_one_part_of_a_path() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, json={"jobs": [JOB | {"id": "../../x?y"}], "next": None, "job": JOB})

    with client(answer) as one:
        one.jobs()[0].refresh()
    assert seen[-1].startswith(b"/v1/jobs/..%2F..%2Fx%3Fy")


@pytest.mark.parametrize(
    ("where", "token", "warned"),
    [
        ("http://qm.example.org", "x", 1), ("https://qm.example.org", "x", 0), ("http://localhost:8000", "x", 0),
        ("http://[::1]:8000", "x", 0), ("http://qm.example.org", None, 0), ("http://localhost.evil.example", "x", 1),
        ("http://127.0.0.1@evil.example", "x", 1),
    ],
)  # fmt: skip
def test_a_token_in_clear_text_on_a_network_is_a_warning(where: str, token: str | None, warned: int) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Client(where, token=token).close()
    assert [str(one.message).endswith("unencrypted: use https://") for one in seen] == [True] * warned
