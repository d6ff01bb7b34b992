"""How requests travel: one protocol, with an implementation that blocks and one for an event loop.

The client is written once, as coroutines over a `Wire`. The methods of `BlockingWire` are coroutines that never
suspend, so `run` finishes them at once and the same code serves both clients, also inside a running loop of a notebook.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar

import httpx

from qmrunner.client.refusals import too_large
from qmrunner.errors import UsageError

if TYPE_CHECKING:
    from qmrunner.client.local import LocalServer

T = TypeVar("T")
# A stream sends something every 15 s; a request for a large file or a slow check may be silent for longer.
_TIMES = httpx.Timeout(60.0, connect=10.0, pool=None)
_STREAM_TIMES = httpx.Timeout(45.0, connect=10.0, pool=None)
# Bytes of an answer that is kept in memory, and of one line of a stream.
LARGEST, LONGEST_LINE = 256 << 20, 32 << 20


class Wire(Protocol):
    """Sends requests. Raises httpx.TransportError where no answer arrives."""

    async def send(self, method: str, path: str, *, sink: Sink | None = None, **parts: Any) -> httpx.Response:
        """The whole answer, whatever its status. The content of a good one goes to `sink`, if there is one.

        Raises QmrunnerError `answer_too_large`.
        """
        ...

    def stream(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]
    ) -> AsyncGenerator[str]:
        """The lines of an answer as they arrive. Raises Refused for a status that is not 200, QmrunnerError
        `answer_too_large`."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class Refused(Exception):
    """An answer with a status that is not 200, in place of a stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        super().__init__(f"status {answer.status_code}")


class Sink:
    """A file for the content of an answer, of at most `most` bytes; each try writes it from its beginning."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self.file, self.most = file, most


class Body:
    """Takes the content of an answer piece by piece, into memory or a sink."""

    def __init__(self, answer: httpx.Response, sink: Sink | None) -> None:
        self._answer = answer
        self._sink = sink if answer.is_success else None
        self._most = LARGEST if self._sink is None else self._sink.most
        self._size = 0
        self._pieces: list[bytes] = []
        if self._sink is not None:
            self._sink.file.seek(0)
            self._sink.file.truncate()

    def take(self, piece: bytes) -> None:
        """Raises QmrunnerError `answer_too_large`."""
        self._size += len(piece)
        if self._size > self._most:
            raise too_large(str(self._answer.url), self._most)
        if self._sink is None:
            self._pieces.append(piece)
        else:
            self._sink.file.write(piece)

    def answer(self) -> httpx.Response:
        """The answer with its content, which is decoded."""
        encoded = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in self._answer.headers.multi_items() if name.lower() not in encoded]
        content = b"".join(self._pieces)
        return httpx.Response(self._answer.status_code, headers=headers, content=content, request=self._answer.request)


class Lines:
    """Splits pieces of a stream at line ends."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer, self._left = answer, bytearray()

    def take(self, piece: bytes) -> list[str]:
        """The lines that `piece` ends. Raises QmrunnerError `answer_too_large`."""
        self._left += piece
        *lines, left = self._left.split(b"\n") if b"\n" in piece else [self._left]
        self._left = left
        if len(left) > LONGEST_LINE:
            raise too_large(str(self._answer.url), LONGEST_LINE)
        return [line.decode(errors="replace").removesuffix("\r") for line in lines]

    def end(self) -> list[str]:
        """The last line, if it has no end."""
        return [self._left.decode(errors="replace")] if self._left else []


def _check_owner(owner: int) -> None:
    """Raises UsageError in a fork of the process that made the client: two processes may not read one connection."""
    if os.getpid() != owner:
        raise UsageError(
            "client_forked", "this client was made by another process, of which this one is a fork",
            remedy="make a Client() in each process, and pass the ids of jobs on",
        )  # fmt: skip


class BlockingWire:
    """Requests that block."""

    def __init__(self, local: LocalServer | None, **how: Any) -> None:
        self._local, self._owner = local, os.getpid()
        if local is not None:
            how["transport"] = httpx.HTTPTransport(uds=local.address)
        self._http = httpx.Client(timeout=_TIMES, **how)

    async def send(self, method: str, path: str, *, sink: Sink | None = None, **parts: Any) -> httpx.Response:
        self._ready()
        with self._http.stream(method, path, **parts) as answer:
            body = Body(answer, sink)
            for piece in answer.iter_bytes():
                body.take(piece)
            return body.answer()

    async def stream(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]
    ) -> AsyncGenerator[str]:
        self._ready()
        with self._http.stream(method, path, content=content, headers=headers, timeout=_STREAM_TIMES) as answer:
            if answer.status_code != 200:
                body = Body(answer, None)
                for piece in answer.iter_bytes():
                    body.take(piece)
                raise Refused(body.answer())
            lines = Lines(answer)
            for piece in answer.iter_bytes():
                for line in lines.take(piece):
                    yield line
            for line in lines.end():
                yield line

    def _ready(self) -> None:
        _check_owner(self._owner)
        if self._local is not None:
            self._local.ensure()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def close(self) -> None:
        self._http.close()
        if self._local is not None:
            self._local.close()


class AsyncWire:
    """Requests of an event loop. A local server is started in a thread."""

    def __init__(self, local: LocalServer | None, **how: Any) -> None:
        self._local, self._owner = local, os.getpid()
        if local is not None:
            how["transport"] = httpx.AsyncHTTPTransport(uds=local.address)
        self._http = httpx.AsyncClient(timeout=_TIMES, **how)

    async def send(self, method: str, path: str, *, sink: Sink | None = None, **parts: Any) -> httpx.Response:
        await self._ready()
        async with self._http.stream(method, path, **parts) as answer:
            body = Body(answer, sink)
            async for piece in answer.aiter_bytes():
                body.take(piece)
            return body.answer()

    async def stream(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]
    ) -> AsyncGenerator[str]:
        await self._ready()
        async with self._http.stream(method, path, content=content, headers=headers, timeout=_STREAM_TIMES) as answer:
            if answer.status_code != 200:
                body = Body(answer, None)
                async for piece in answer.aiter_bytes():
                    body.take(piece)
                raise Refused(body.answer())
            lines = Lines(answer)
            async for piece in answer.aiter_bytes():
                for line in lines.take(piece):
                    yield line
            for line in lines.end():
                yield line

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        await self._http.aclose()
        if self._local is not None:
            await asyncio.to_thread(self._local.close)

    async def _ready(self) -> None:
        _check_owner(self._owner)
        if self._local is not None and not self._local.runs:
            await asyncio.to_thread(self._local.ensure)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over a BlockingWire."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a coroutine of the blocking client was suspended")


def iterate(stream: AsyncGenerator[T]) -> Generator[T, None, None]:
    """The items of a stream over a BlockingWire. The stream is closed when the loop over them ends."""
    try:
        while True:
            try:
                item = run(_next(stream))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(_closed(stream))


async def _next(stream: AsyncIterator[T]) -> T:
    return await anext(stream)


async def _closed(stream: AsyncGenerator[T]) -> None:
    async with aclosing(stream):
        pass
