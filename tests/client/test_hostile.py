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


def endless(size: int) -> Iterator[bytes]:
    for _ in range(size >> 16):
        yield bytes(1 << 16)


def test_an_answer_without_end_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmrunner.client.wire.LARGEST", 1 << 20)
    monkeypatch.setattr("qmrunner.client.wire.LONGEST_LINE", 1 << 20)
    monkeypatch.setattr("qmrunner.client.session.LONGEST_LINE", 1 << 20)
    read = [0]

    def body(line: bytes) -> Iterator[bytes]:
        while True:
            read[0] += len(line)
            yield line

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/files"):
            return httpx.Response(200, json={"files": [{"name": "a/b.log", "bytes": 1000}]})
        if path.endswith("/stream"):
            return httpx.Response(200, content=body(b"data: " + bytes(60_000) + (b"\n" if "events" in path else b"")))
        if path.endswith("/steps"):
            return httpx.Response(200, json={"job": JOB})
        if "/files/" in path or path.endswith(("/why", "/many")):
            return httpx.Response(404 if path.endswith("/why") else 200, content=body(bytes(1 << 16)))
        return httpx.Response(200, json={"job": JOB})

    with client(answer) as one:
        job = one.job("abc")
        asked: list[Callable[[], Any]] = [
            lambda: job.file("a/b.log"),
            job.why,
            lambda: job.download(tmp_path / "out"),
            lambda: list(job.events(follow=True)),
            lambda: list(job.logs("s", follow=True)),
            lambda: one.submit_many(["CCO"]),
        ]
        for ask in asked:
            read[0] = 0
            with pytest.raises(QmrunnerError) as caught:
                ask()
            assert caught.value.code == "answer_too_large"
            assert read[0] < 6 << 20
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_large_file_is_downloaded_in_pieces_and_a_cut_one_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qmrunner.client.wire.LARGEST", 1 << 16)
    size, tries = 4 << 20, [0]

    def cut() -> Iterator[bytes]:
        yield b"x" * 1000
        raise httpx.ReadError("gone")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/files"):
            return httpx.Response(200, json={"files": [{"name": "big.cube", "bytes": size}]})
        if "/files/" in request.url.path:
            tries[0] += 1
            return httpx.Response(200, content=cut() if tries[0] == 1 else endless(size))
        return httpx.Response(200, json={"job": JOB})

    (tmp_path / "big.cube").write_text("old")
    with client(answer) as one:
        job = one.job("abc")
        with pytest.raises(QmrunnerError):  # without patience
            job.download(tmp_path)
        assert (tmp_path / "big.cube").read_text() == "old"
        assert job.download(tmp_path) == [tmp_path / "big.cube"]
    assert (tmp_path / "big.cube").read_bytes() == bytes(size)
    assert [path.name for path in tmp_path.iterdir()] == ["big.cube"]


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b"7", b"{}", b'{"line": 0}', b'{"line": 9}', b'{"line": "x"}'])
def test_lines_and_events_that_are_not_qmrunners_are_an_error_with_a_code(line: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/stream"):
            return httpx.Response(200, content=b"event: log\ndata: " + line + b"\n\n")
        if request.url.path.endswith("/many"):
            return httpx.Response(200, content=line + b"\n")
        return httpx.Response(200, json={"job": JOB})

    with client(answer) as one:
        for ask in (lambda: one.submit_many(["CCO"]), lambda: list(one.job("abc").logs("s", follow=True))):
            with pytest.raises(QmrunnerError) as caught:
                ask()
            assert caught.value.code == "not_qmrunner"


def test_lines_are_divided_at_line_feeds_only_and_across_pieces() -> None:
    from qmrunner.client.wire import Lines

    text = "ein Ü\u2028 a\x0bb\r\nzwei\n\nletzte"
    data = text.encode()
    for width in range(1, len(data) + 1):
        lines = Lines(httpx.Response(200, request=httpx.Request("GET", "http://x/")))
        found = [line for at in range(0, len(data), width) for line in lines.take(data[at : at + width])]
        assert [*found, *lines.end()] == ["ein Ü\u2028 a\x0bb", "zwei", "", "letzte"]
