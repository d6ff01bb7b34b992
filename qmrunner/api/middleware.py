"""Wraps every request: logs it, gives it an id, counts it, and sends a response whatever happens inside."""

from __future__ import annotations

import time
import uuid
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qmrunner.api.errors import unexpected
from qmrunner.api.service import Service
from qmrunner.logs import get as get_logger

_LONGEST_PATH_SHOWN = 200
_LONGEST_METHOD_SHOWN = 20
_HEADERS = [(b"x-content-type-options", b"nosniff")]


class Outermost:
    """One event `request` for each request: method, path (never the query), status, time, and the name of the token.

    The state has a stack `held` with resources that are released once the response is sent or has failed.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._inner = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, identity = time.monotonic(), uuid.uuid4().hex[:16]
        status, whole = 0, not _has_body(scope)
        state = scope.setdefault("state", {})

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message.get("headers", [])}
                more = [(b"x-request-id", identity.encode()), *(header for header in _HEADERS if header[0] not in own)]
                if not whole and status >= 400:
                    more.append((b"connection", b"close"))  # do not read the rest of the body
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        async def received() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)
            return message

        try:
            async with AsyncExitStack() as state["held"]:
                await self._inner(scope, received, answer)
        except ClientDisconnect:
            pass  # the client disconnected before its request was complete
        except Exception as problem:
            response = unexpected(problem, Request(scope))
            if status:
                raise  # too late for another response: close the connection, which the client notices
            await response(scope, receive, answer)
        finally:
            method, route = state.get("label", ("any", "unknown"))
            self._service.requests[method, route, str(status)] += 1
            _tell(scope, status, identity, time.monotonic() - began)


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _tell(scope: MutableMapping[str, Any], status: int, identity: str, seconds: float) -> None:
    client, caller = scope.get("client"), scope["state"].get("caller")
    get_logger().log(
        20 if status < 500 else 40,
        "request",
        method=scope["method"][:_LONGEST_METHOD_SHOWN],
        path=scope["raw_path"][:_LONGEST_PATH_SHOWN].decode("latin-1"),  # as sent: ASCII, with its escapes
        status=status or None,
        ms=round(seconds * 1000, 1),
        client=client[0] if client else None,
        token=caller.name if caller else None,
        request=identity,
    )
