"""Bodies of requests: received within limits of size and time, and never before the caller is admitted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from anyio import to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from qmrunner.api.upload import nesting
from qmrunner.errors import NotReadyError, QmrunnerError, UsageError

IDLE_S = 15.0
_SMALL_S = 20.0
_LARGE_S = 600.0
_PIECE = 1 << 20


async def small(receive: Receive, most: int) -> bytes:
    """The whole body, of at most `most` bytes. Raises UsageError `body_too_large`, `body_too_slow`, `invalid_request`
    for deeply nested JSON; ClientDisconnect."""
    body = await whole(receive, most)
    nesting.check(body)
    return body


async def whole(receive: Receive, most: int) -> bytes:
    """The same for a body that is not JSON. Raises UsageError `body_too_large`, `body_too_slow`; ClientDisconnect."""
    return b"".join([data async for data in _pieces(receive, most, _SMALL_S)])


async def to_file(receive: Receive, most: int, path: Path) -> None:
    """Write a body of at most `most` bytes into a new file, in threads. Raises as `small`; NotReadyError."""
    try:
        file = await to_thread.run_sync(lambda: open(path, "xb"))  # noqa: SIM115
        with file:
            waiting: list[bytes] = []
            size = 0
            async for data in _pieces(receive, most, _LARGE_S):
                waiting.append(data)
                size += len(data)
                if size >= _PIECE:
                    await to_thread.run_sync(file.write, b"".join(waiting))
                    waiting, size = [], 0
            await to_thread.run_sync(file.write, b"".join(waiting))
            await to_thread.run_sync(file.flush)
    except OSError as problem:
        raise no_room(problem.strerror) from None


def without(receive: Receive, most: int) -> Receive:
    """For a route that reads no body: a `receive` that drops up to `most` bytes that the client sends anyway."""
    seen = 0

    async def dropped() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            return {"type": "http.disconnect"}
        return {**message, "body": b""} if message["type"] == "http.request" else message

    return dropped


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns this body, and then the messages after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def too_large(most: int) -> UsageError:
    """The error for a body larger than `most` bytes."""
    size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
    return UsageError(
        "body_too_large",
        f"the request is larger than {size}",
        remedy="check that no output is among the files; QMRUNNER_API_MAX_BODY_MIB is the limit of a submission",
    )


def no_room(evidence: str | None) -> QmrunnerError:
    return NotReadyError(
        "upload_failed", "the server could not store the request", evidence=evidence,
        remedy="check that the disk of the server's home is not full, then retry",
    )  # fmt: skip


async def _pieces(receive: Receive, most: int, seconds: float) -> AsyncIterator[bytes]:
    seen = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        message = await _in_time(receive, min(IDLE_S, end - loop.time()))
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        data: bytes = message.get("body", b"")
        seen += len(data)
        if seen > most:
            raise too_large(most)
        yield data
        if not message.get("more_body", False):
            return


async def _in_time(receive: Callable[[], Awaitable[Message]], seconds: float) -> Message:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await receive()
    except TimeoutError:
        raise UsageError(
            "body_too_slow",
            "the body of the request did not arrive in time",
            evidence=f"no data for {IDLE_S:g} s, or the body did not end",
            remedy="send it again over a faster connection",
        ) from None
