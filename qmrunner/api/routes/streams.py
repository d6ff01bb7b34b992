"""Routes of a job's events and a step's log, in one response or as server-sent events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from qmrunner.api import logfiles, schemas
from qmrunner.api.access import Caller, still_valid
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import Reader, look
from qmrunner.api.service import Service, service_of
from qmrunner.app import App
from qmrunner.errors import UsageError
from qmrunner.model.states import JOB_FINAL
from qmrunner.reports.status import iso
from qmrunner.store import events
from qmrunner.store import jobs as job_store
from qmrunner.store.rows import moment
from qmrunner.store.session import StoreUnavailable

_POLL_EVERY_S = 0.5
_KEEPALIVE_S = 15.0
_RETRY_MS = 2000
# Commits may complete in another order than their event numbers: search this many events back for late ones.
_LOOK_BACK = 1000
SSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events."},
    204: {"description": "Everything has been sent and no more events will follow: do not reconnect."},
}
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1/jobs", tags=["streams"], responses=errors(400, 401, 403, 404, 422, 429, 503))


@router.get("/{job_id}/events", response_model=schemas.EventList)
async def history(
    request: Request,
    job_id: str,
    _: Reader,
    after: Annotated[int, Query(ge=0, lt=2**53, description="Return only events after this `id`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Json:
    """List the events of a job, oldest first."""
    found, _over = await look(request, _events_since, job_id, after, limit)
    return Json({"events": [event_json(row) for row in found], "last": found[-1]["id"] if found else after})


@router.get("/{job_id}/events/stream", response_class=StreamingResponse, responses=SSE)
async def follow_events(request: Request, job_id: str, caller: Reader) -> Response:
    """Stream a job's events until the job ends.

    Every event is one SSE event of the same name; send its `id` as `Last-Event-ID` to resume. Its data is as in the
    list. The last event is `end`, with the state of the job, or with `reason` if the server stops or the token was
    revoked.
    """
    given = request.headers.get("last-event-id", "0")
    if not re.fullmatch(r"[0-9]{1,15}", given):
        raise bad_position("a number")
    after = int(given)
    found, over = await look(request, _events_since, job_id, after)
    if over and not found and after:
        return Response(status_code=204)
    return await stream_of(request, caller, _Events(job_id, after))


@router.get(
    "/{job_id}/steps/{step}/log",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Bytes of the log; `X-Attempt` is its attempt, `X-Next-Offset` the offset to request next.",
        }
    },
)
async def log(
    request: Request,
    job_id: str,
    step: str,
    _: Reader,
    attempt: Annotated[int | None, Query(ge=1, le=10**6, description="Attempt number; default: the newest.")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**53, description="Number of bytes to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=2**22, description="Maximum number of bytes.")] = 2**20,
    line: Annotated[
        int | None,
        Query(ge=1, lt=2**31, description="Return the lines around this one, not bytes."),
    ] = None,
    around: Annotated[int, Query(ge=0, le=1000, description="With `line`: lines before and after it.")] = 20,
) -> Response:
    """Return the raw engine output of a step from an offset on; empty if there is none yet.

    With `line` return the lines around it: `X-First-Line` has the number of the first one, `X-Offset` its offset.
    """
    if line is not None:
        found = await look(request, logfiles.around, job_id, step, attempt, line, around)
        headers = {
            "X-Attempt": str(found.attempt), "X-First-Line": str(found.line), "X-Offset": str(found.offset),
            "X-Next-Offset": str(found.offset + len(found.data)), "X-Content-Type-Options": "nosniff",
        }  # fmt: skip
        return Response(found.data, media_type="text/plain; charset=utf-8", headers=headers)
    number, data = await look(request, logfiles.read, job_id, step, attempt, offset, limit)
    headers = {"X-Attempt": str(number), "X-Next-Offset": str(offset + len(data)), "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/{job_id}/steps/{step}/trace", response_model=schemas.Trace)
async def trace(
    request: Request,
    job_id: str,
    step: str,
    _: Reader,
    attempt: Annotated[int | None, Query(ge=1, le=10**6, description="Attempt number; default: the newest.")] = None,
    after: Annotated[int, Query(ge=0, lt=2**53, description="Return only points after this number.")] = 0,
) -> Json:
    """Return the course of a run from its log: iterations with energy, gradient and residual, at most 2,000 points.

    Energies in hartree, gradients in hartree/bohr. Send `last` as `after` in the next request; if `complete` is false,
    more of the log waits to be read.
    """
    traces = service_of(request).traces
    return Json(await look(request, traces.look, job_id, step, attempt, after))


@router.get("/{job_id}/steps/{step}/log/stream", response_class=StreamingResponse, responses=SSE)
async def follow_log(
    request: Request,
    job_id: str,
    step: str,
    caller: Reader,
    attempt: Annotated[int, Query(ge=1, le=10**6, description="The first attempt to stream.")] = 1,
    offset: Annotated[int, Query(ge=0, lt=2**53, description="Number of bytes of that attempt to skip.")] = 0,
) -> Response:
    """Stream a step's raw output, attempt after attempt, until the step ends.

    Every `log` event has `attempt`, `offset`, `next` (bytes) and `text`; its `id` is ATTEMPT:NEXT, to be sent as
    `Last-Event-ID` to resume. The last event is `end`.
    """
    given = request.headers.get("last-event-id")
    position = logfiles.Position(attempt, offset)
    if given is not None:
        parts = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,15})", given)
        if parts is None:
            raise bad_position("ATTEMPT:OFFSET")
        position = logfiles.Position(int(parts[1]), int(parts[2]))
    first = await look(request, logfiles.more, job_id, step, position)
    if given is not None and first.over and not first.data:
        return Response(status_code=204)
    return await stream_of(request, caller, _Log(job_id, step, position))


class Source(Protocol):
    """What a stream sends."""

    def poll(self, app: App) -> tuple[list[bytes], dict[str, Any] | None]:
        """New server-sent events, and the data of `end` once all are sent."""
        ...


class _Events:
    """Position of a stream of events. `poll` returns the new events, and the data of `end` once all are sent."""

    def __init__(self, job_id: str, after: int) -> None:
        self._job = job_id
        self._floor = self._last = after
        self._sent: set[int] = set()

    def poll(self, app: App) -> tuple[list[bytes], dict[str, Any] | None]:
        since = max(self._floor, self._last - _LOOK_BACK)
        found, over = _events_since(app, self._job, since)
        new = [row for row in found if row["id"] not in self._sent]
        self._sent = {row["id"] for row in found}
        self._last = max([self._last, *self._sent])
        return [sse(row["event"], event_json(row), str(row["id"])) for row in new], over


class _Log:
    """The same for a stream of a log."""

    def __init__(self, job_id: str, step: str, position: logfiles.Position) -> None:
        self._job, self._step, self._position = job_id, step, position

    def poll(self, app: App) -> tuple[list[bytes], dict[str, Any] | None]:
        found = logfiles.more(app, self._job, self._step, self._position)
        chunks = []
        if found.data:
            chunks.append(sse("log", _piece(found), f"{found.at.attempt}:{found.next.offset}"))
        self._position = found.next
        return chunks, {"state": found.state} if found.over else None


def _piece(found: logfiles.Piece) -> dict[str, Any]:
    text = found.data.decode(errors="replace")
    at = found.at
    return {"attempt": at.attempt, "offset": at.offset, "next": at.offset + len(found.data), "text": text}


async def stream_of(request: Request, caller: Caller, source: Source) -> StreamingResponse:
    """A response of server-sent events, which holds a place until it ends."""
    service = service_of(request)
    await request.state.held.enter_async_context(service.streams.place())
    return StreamingResponse(_follow(service, caller, source), media_type="text/event-stream", headers=_HEADERS)


async def _follow(service: Service, caller: Caller, source: Source) -> AsyncIterator[bytes]:
    """Send what `source` finds until the source, the server or the token ends."""
    yield f"retry: {_RETRY_MS}\n\n".encode()
    sent_at = time.monotonic()
    while True:
        chunks: list[bytes] = []
        end: dict[str, Any] | None = None
        try:
            chunks, end = await service.ask(lambda: source.poll(service.app))
            if not await still_valid(service, caller):
                end = {"reason": "token_refused"}
                chunks = []
        except StoreUnavailable:
            pass  # the stream continues: the next poll resumes at the same position
        for chunk in chunks:
            yield chunk
            sent_at = time.monotonic()
        if end is not None:
            yield sse("end", end)
            return
        if not chunks and time.monotonic() - sent_at > _KEEPALIVE_S:
            yield b": still here\n\n"
            sent_at = time.monotonic()
        if await service.pause(0.0 if chunks and isinstance(source, _Log) else _POLL_EVERY_S):
            yield sse("end", {"reason": "server_stops"})
            return


def _events_since(
    app: App, job_id: str, after: int, limit: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Events after `after`, and the data of `end` when no more will follow."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        found = events.since(connection, job_id, after, limit)
    return found, {"state": job.state} if job.state in JOB_FINAL else None


def event_json(row: dict[str, Any]) -> dict[str, Any]:
    """An event as it is sent."""
    return {
        "id": row["id"],
        "at": iso(moment(row["at"])),
        "event": row["event"],
        "step": row["step"],
        "attempt": row["attempt"],
        "worker": row["worker_id"],
        "data": row["data"],
    }


def sse(event: str, data: dict[str, Any], identity: str | None = None) -> bytes:
    """The bytes of a server-sent event."""
    head = "" if identity is None else f"id: {identity}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data, default=str)}\n\n".encode()


def bad_position(shape: str) -> UsageError:
    """The error for a Last-Event-ID of another shape."""
    return UsageError(
        "bad_header", f"Last-Event-ID must be {shape}", remedy="send the `id` of the last event, or omit the header"
    )
