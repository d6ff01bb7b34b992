"""Around every request: its size, its line in the log, its id."""

from __future__ import annotations

import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qmrunner.api.answers import refusal
from qmrunner.api.service import Service
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.logs import get as get_logger

_LONGEST_PATH_SHOWN = 200


class Outermost:
    """One event `request` for each request: method, path (never the query), status, time, and whose token it was."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._inner = app
        self._service = service
        self._most = service.app.settings.api_max_body_mib << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, identity = time.monotonic(), uuid.uuid4().hex[:16]
        status = 0
        scope.setdefault("state", {})

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self._limited(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._service.requests[scope["method"] if route != "unknown" else "any", route, str(status)] += 1
            _tell(scope, status, identity, time.monotonic() - began)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._most:
            await refusal(self._too_large())(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise self._too_large()
            return message

        await self._inner(scope, counted, send)

    def _too_large(self) -> QmrunnerError:
        return UsageError(
            "body_too_large",
            f"the request is larger than {self._most >> 20} MiB",
            remedy="is an output among the files? QMRUNNER_API_MAX_BODY_MIB is the limit",
        )


def _tell(scope: MutableMapping[str, Any], status: int, identity: str, seconds: float) -> None:
    client = scope.get("client")
    get_logger().log(
        20 if status < 500 else 40,
        "request",
        method=scope["method"],
        path=scope["path"][:_LONGEST_PATH_SHOWN],
        status=status or None,
        ms=round(seconds * 1000, 1),
        client=client[0] if client else None,
        token=scope["state"].get("caller"),
        request=identity,
    )
