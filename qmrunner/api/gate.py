"""The only entrance: every request is well formed, known and admitted before the server receives a byte of its body.

The framework reads a body before it checks the sender. So this module matches routes by their declarations: a route
that is not in the table is unknown, and a route without `needs` or `open_to_all` prevents the server from starting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from qmrunner.api.access import Needs, admit
from qmrunner.api.errors import MethodNotAllowed, refusal_for
from qmrunner.api.service import Service
from qmrunner.api.upload import bodies, wellformed
from qmrunner.errors import NotFoundError, QmrunnerError


@dataclass(frozen=True, slots=True)
class Way:
    """A route: its paths and methods, its label, and its needs."""

    pattern: re.Pattern[str]
    methods: frozenset[str]
    path: str
    needs: Needs


def ways(routes: Iterable[BaseRoute]) -> list[Way]:
    """The table of all routes, in their order. Raises TypeError for a route without declared access."""
    return [_way(route) for route in routes]


def _way(route: BaseRoute) -> Way:
    if not isinstance(route, APIRoute):
        raise TypeError(f"{route!r} is not a route with declared access")
    found = list(_needs(route.dependant))
    if len(found) != 1:
        raise TypeError(f"{route.path} needs exactly one of `needs` and `open_to_all`, not {len(found)}")
    return Way(route.path_regex, frozenset(route.methods or ()), route.path, found[0])


def _needs(dependant: Dependant) -> Iterable[Needs]:
    for dependency in dependant.dependencies:
        call: object = dependency.call
        if isinstance(call, Needs):
            yield call
        yield from _needs(dependency)


class Gate:
    """Refuses malformed, unknown and forbidden requests, and passes the others on with the caller in their state."""

    def __init__(self, app: ASGIApp, service: Service, table: Sequence[Way]) -> None:
        self._inner = app
        self._service = service
        self._table = table
        self._most = service.app.settings.api_max_body_mib << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        try:
            receive = await self._admitted(scope, receive)
        except QmrunnerError as problem:
            await refusal_for(Request(scope), problem)(scope, receive, send)
        except ClientDisconnect:
            return  # the client has gone: no response is needed
        else:
            await self._inner(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive:
        """The `receive` of an admitted request."""
        wellformed.check_start(scope["method"], scope["http_version"])
        wellformed.check_target(scope["raw_path"], scope["query_string"])
        headers = wellformed.checked_headers(scope["headers"])
        way = self._find(scope)
        scope["state"]["page"], scope["state"]["checked"] = way.needs.page, headers
        client = scope.get("client")
        caller = await admit(self._service, way.needs, scope["method"], headers, client[0] if client else "unknown")
        scope["state"]["caller"] = caller
        most = self._most if way.needs.body is None else way.needs.body
        if way.needs.body != 0 and int(headers.get("content-length", "0")) > most:
            raise bodies.too_large(most)
        if way.needs.body is None:
            return receive
        if way.needs.body == 0:
            return bodies.without(receive, self._most)
        return bodies.replayed(await bodies.small(receive, most), receive)

    def _find(self, scope: Scope) -> Way:
        """The first route for this path and method; its label goes into the state for the metrics."""
        found = [way for way in self._table if way.pattern.match(scope["path"])]
        if not found:
            scope["state"]["page"] = any(
                name == b"accept" and b"text/html" in value for name, value in scope["headers"]
            )
            raise NotFoundError(
                "route_unknown", "there is no such route", remedy="/docs and /openapi.json list all routes"
            )
        scope["state"]["label"] = ("any", found[0].path)
        for way in found:
            if scope["method"] in way.methods:
                scope["state"]["label"] = (scope["method"], way.path)
                return way
        raise MethodNotAllowed(set().union(*(way.methods for way in found)))
