"""How requests travel: one protocol, with an implementation that blocks and one for an event loop.

The client is written once, as coroutines over a `Wire`. The methods of `BlockingWire` are coroutines that never
suspend, so `run` finishes them at once and the same code serves both clients, also inside a running loop of a notebook.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx

if TYPE_CHECKING:
    from qmrunner.client.local import LocalServer

T = TypeVar("T")
# A stream sends something every 15 s; a request for a large file or a slow check may be silent for longer.
_TIMES = httpx.Timeout(60.0, connect=10.0, pool=None)
_STREAM_TIMES = httpx.Timeout(45.0, connect=10.0, pool=None)


class Wire(Protocol):
    """Sends requests. Raises httpx.TransportError where no answer arrives."""

    async def send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        """The whole answer, whatever its status."""
        ...

    def stream(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]
    ) -> AsyncGenerator[str]:
        """The lines of an answer as they arrive. Raises Refused for a status that is not 200."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class Refused(Exception):
    """An answer with a status that is not 200, in place of a stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        super().__init__(f"status {answer.status_code}")


class BlockingWire:
    """Requests that block."""

    def __init__(self, local: LocalServer | None, **how: Any) -> None:
        self._local = local
        if local is not None:
            how["transport"] = httpx.HTTPTransport(uds=local.address)
        self._http = httpx.Client(timeout=_TIMES, **how)

    async def send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        if self._local is not None:
            self._local.ensure()
        return self._http.request(method, path, **parts)

    async def stream(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]
    ) -> AsyncGenerator[str]:
        if self._local is not None:
            self._local.ensure()
        with self._http.stream(method, path, content=content, headers=headers, timeout=_STREAM_TIMES) as answer:
            if answer.status_code != 200:
                answer.read()
                raise Refused(answer)
            for line in answer.iter_lines():
                yield line

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def close(self) -> None:
        self._http.close()
        if self._local is not None:
            self._local.close()


class AsyncWire:
    """Requests of an event loop. A local server is started in a thread."""

    def __init__(self, local: LocalServer | None, **how: Any) -> None:
        self._local = local
        if local is not None:
            how["transport"] = httpx.AsyncHTTPTransport(uds=local.address)
        self._http = httpx.AsyncClient(timeout=_TIMES, **how)

    async def send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        await self._ready()
        return await self._http.request(method, path, **parts)

    async def stream(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str]
    ) -> AsyncGenerator[str]:
        await self._ready()
        async with self._http.stream(method, path, content=content, headers=headers, timeout=_STREAM_TIMES) as answer:
            if answer.status_code != 200:
                await answer.aread()
                raise Refused(answer)
            async for line in answer.aiter_lines():
                yield line

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        await self._http.aclose()
        if self._local is not None:
            await asyncio.to_thread(self._local.close)

    async def _ready(self) -> None:
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
