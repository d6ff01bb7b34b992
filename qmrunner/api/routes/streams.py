"""Routes of what goes on: a job's events and a step's log, at once or as server-sent events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

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

_LOOK_EVERY_S = 0.5
_SIGN_OF_LIFE_S = 15.0
_RETRY_MS = 2000
# Two commits may end in the other order than their rows were numbered: so far back a late one is looked for.
_LOOK_BACK = 1000
_SSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events."},
    204: {"description": "All has been sent, and nothing more will come: do not connect again."},
}
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1/jobs", tags=["streams"], responses=errors(400, 401, 403, 404, 422, 429, 503))


@router.get("/{job_id}/events", response_model=schemas.EventList)
async def history(
    request: Request,
    job_id: str,
    _: Reader,
    after: Annotated[int, Query(ge=0, lt=2**53, description="Only events behind this `id`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Json:
    """What has happened to a job, oldest first."""
    found, _over = await look(request, _events_since, job_id, after, limit)
    return Json({"events": [_event(row) for row in found], "last": found[-1]["id"] if found else after})


@router.get("/{job_id}/events/stream", response_class=StreamingResponse, responses=_SSE)
async def follow_events(request: Request, job_id: str, caller: Reader) -> Response:
    """A job's events as they come, until its end.

    Each is an SSE event named like it, its `id` for `Last-Event-ID`, its data as in the list. The last is `end`, with
    the state of the job, or with `reason` when the server stops or the token was revoked.
    """
    given = request.headers.get("last-event-id", "0")
    if not re.fullmatch(r"[0-9]{1,15}", given):
        raise _bad_position("a number")
    after = int(given)
    found, over = await look(request, _events_since, job_id, after)
    if over and not found and after:
        return Response(status_code=204)
    return await _stream(request, caller, _Events(job_id, after))


@router.get(
    "/{job_id}/steps/{step}/log",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Bytes of the log; `X-Attempt` says whose, `X-Next-Offset` where the next question begins.",
        }
    },
)
async def log(
    request: Request,
    job_id: str,
    step: str,
    _: Reader,
    attempt: Annotated[int | None, Query(ge=1, le=10**6, description="Default: the newest.")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**53, description="Bytes to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=2**22, description="Bytes at most.")] = 2**20,
) -> Response:
    """Raw engine output of a step, from an offset; empty where there is none yet."""
    number, data = await look(request, logfiles.read, job_id, step, attempt, offset, limit)
    headers = {"X-Attempt": str(number), "X-Next-Offset": str(offset + len(data)), "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/{job_id}/steps/{step}/log/stream", response_class=StreamingResponse, responses=_SSE)
async def follow_log(
    request: Request,
    job_id: str,
    step: str,
    caller: Reader,
    attempt: Annotated[int, Query(ge=1, le=10**6, description="The first attempt to show.")] = 1,
    offset: Annotated[int, Query(ge=0, lt=2**53, description="Bytes of it to skip.")] = 0,
) -> Response:
    """A step's raw output as it comes, attempt after attempt, until the step's end.

    Events `log` with `attempt`, `offset`, `next` (bytes) and `text`; the `id` is ATTEMPT:NEXT, for `Last-Event-ID`.
    The last is `end`.
    """
    given = request.headers.get("last-event-id")
    position = logfiles.Position(attempt, offset)
    if given is not None:
        parts = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,15})", given)
        if parts is None:
            raise _bad_position("ATTEMPT:OFFSET")
        position = logfiles.Position(int(parts[1]), int(parts[2]))
    first = await look(request, logfiles.more, job_id, step, position)
    if given is not None and first.over and not first.data:
        return Response(status_code=204)
    return await _stream(request, caller, _Log(job_id, step, position))


class _Events:
    """Where a stream of events stands. `look` returns what is new, and the last words once all is told."""

    def __init__(self, job_id: str, after: int) -> None:
        self._job = job_id
        self._floor = self._last = after
        self._sent: set[int] = set()

    def look(self, app: App) -> tuple[list[bytes], dict[str, Any] | None]:
        since = max(self._floor, self._last - _LOOK_BACK)
        found, over = _events_since(app, self._job, since)
        new = [row for row in found if row["id"] not in self._sent]
        self._sent = {row["id"] for row in found}
        self._last = max([self._last, *self._sent])
        return [_sse(row["event"], _event(row), str(row["id"])) for row in new], over


class _Log:
    """The same for a stream of log."""

    def __init__(self, job_id: str, step: str, position: logfiles.Position) -> None:
        self._job, self._step, self._position = job_id, step, position

    def look(self, app: App) -> tuple[list[bytes], dict[str, Any] | None]:
        found = logfiles.more(app, self._job, self._step, self._position)
        told = []
        if found.data:
            told.append(_sse("log", _piece(found), f"{found.at.attempt}:{found.next.offset}"))
        self._position = found.next
        return told, {"state": found.state} if found.over else None


def _piece(found: logfiles.Piece) -> dict[str, Any]:
    text = found.data.decode(errors="replace")
    at = found.at
    return {"attempt": at.attempt, "offset": at.offset, "next": at.offset + len(found.data), "text": text}


async def _stream(request: Request, caller: Caller, source: _Events | _Log) -> StreamingResponse:
    service = service_of(request)
    await request.state.held.enter_async_context(service.streams.place())
    return StreamingResponse(_follow(service, caller, source), media_type="text/event-stream", headers=_HEADERS)


async def _follow(service: Service, caller: Caller, source: _Events | _Log) -> AsyncIterator[bytes]:
    """What `source` finds, until its end, that of the server, or that of the token."""
    yield f"retry: {_RETRY_MS}\n\n".encode()
    said = time.monotonic()
    while True:
        told: list[bytes] = []
        end: dict[str, Any] | None = None
        try:
            told, end = await service.ask(lambda: source.look(service.app))
            if not await still_valid(service, caller):
                end = {"reason": "token_refused"}
                told = []
        except StoreUnavailable:
            pass  # the stream outlives that: the next look goes on where this one would have
        for one in told:
            yield one
            said = time.monotonic()
        if end is not None:
            yield _sse("end", end)
            return
        if not told and time.monotonic() - said > _SIGN_OF_LIFE_S:
            yield b": still here\n\n"
            said = time.monotonic()
        if await service.pause(0.0 if told and isinstance(source, _Log) else _LOOK_EVERY_S):
            yield _sse("end", {"reason": "server_stops"})
            return


def _events_since(
    app: App, job_id: str, after: int, limit: int | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Events behind `after`, and the end of the job when no more will come."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        found = events.since(connection, job_id, after, limit)
    return found, {"state": job.state} if job.state in JOB_FINAL else None


def _event(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "at": iso(moment(row["at"])),
        "event": row["event"],
        "step": row["step"],
        "attempt": row["attempt"],
        "worker": row["worker_id"],
        "data": row["data"],
    }


def _sse(event: str, data: dict[str, Any], identity: str | None = None) -> bytes:
    head = "" if identity is None else f"id: {identity}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data, default=str)}\n\n".encode()


def _bad_position(shape: str) -> UsageError:
    return UsageError(
        "bad_header", f"Last-Event-ID is {shape} here", remedy="send back the `id` of the last event, or leave it out"
    )
