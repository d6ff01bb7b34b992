"""Routes of the whole store's history: events of all jobs and workers, in pages or as a stream."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from qmrunner.api import state_schemas
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import Reader
from qmrunner.api.routes.streams import SSE, bad_position, event_json, sse, stream_of
from qmrunner.api.service import service_of
from qmrunner.app import App
from qmrunner.store import events

# A server of PostgreSQL may commit events in another order than their numbers; SQLite has one writer.
_LOOK_BACK = 200
_AT_ONCE = 1000
_Name = Annotated[str, Query(max_length=40, pattern=r"^[a-z_]+$")]

router = APIRouter(prefix="/v1/events", tags=["events"], responses=errors(400, 401, 403, 422, 429, 503))


@router.get("", response_model=state_schemas.History)
async def history(
    request: Request,
    _: Reader,
    event: Annotated[list[_Name], Query(description="Return only events with these names.")] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int | None, Query(ge=1, lt=2**53, description="`next` of the previous page.")] = None,
) -> Json:
    """List the events of all jobs and workers, newest first; docs/reference/events.md explains their names.

    Names that are rare are looked for among the newest 20,000 events.
    """
    service = service_of(request)

    def look() -> list[dict[str, Any]]:
        with service.app.store.read() as connection:
            return events.recent(connection, limit + 1, before=cursor, names=event)

    found = await service.ask(look)
    shown = found[:limit]
    return Json({"events": [_whole(row) for row in shown], "next": shown[-1]["id"] if len(found) > limit else None})


@router.get("/stream", response_class=StreamingResponse, responses=SSE)
async def follow(request: Request, caller: Reader) -> Response:
    """Stream the events of all jobs and workers from now on, or after `Last-Event-ID`, until the server stops."""
    given = request.headers.get("last-event-id")
    if given is not None and not re.fullmatch(r"[0-9]{1,15}", given):
        raise bad_position("a number")
    service = service_of(request)

    def start() -> int:
        with service.app.store.read() as connection:
            return events.newest(connection)

    after = await service.ask(start) if given is None else int(given)
    return await stream_of(request, caller, _All(after))


class _All:
    """Position of a stream of all events."""

    def __init__(self, after: int) -> None:
        self._floor = self._last = after
        self._sent: set[int] = set()

    def poll(self, app: App) -> tuple[list[bytes], dict[str, Any] | None]:
        back = 0 if app.store.is_sqlite else _LOOK_BACK
        with app.store.read() as connection:
            found = events.all_since(connection, max(self._floor, self._last - back), _AT_ONCE)
        new = [row for row in found if row["id"] not in self._sent]
        self._sent = {row["id"] for row in found}
        self._last = max([self._last, *self._sent])
        return [sse(row["event"], _whole(row), str(row["id"])) for row in new], None


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    return {**event_json(row), "job": row["job_id"]}
