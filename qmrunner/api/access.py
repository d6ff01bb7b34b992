"""Who may do what: bearer tokens with a scope, and no token on loopback while the store has none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from qmrunner.api.answers import rate_limited
from qmrunner.api.service import Service, service_of
from qmrunner.errors import UsageError
from qmrunner.store import tokens

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer SECRET`, from `qmrunner token add`.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of their token, None where no token is needed. Jobs they hand in belong to that name."""

    name: str | None
    scope: str
    secret: str | None = None


def needs(scope: str) -> Callable[..., Awaitable[Caller]]:
    """The dependency of a route that only callers with this scope, or a larger one, may use."""

    async def check(request: Request, credentials: _Credentials) -> Caller:
        service = service_of(request)
        address = request.client.host if request.client else "unknown"
        try:
            caller = await _caller(service, request, credentials.credentials if credentials else None)
        except UsageError:
            _take(service, f"address {address}")  # so that nobody tries secrets at full speed
            raise
        request.state.caller = caller.name
        _take(service, f"token {caller.name}" if caller.name else f"address {address}")
        if tokens.SCOPES.index(caller.scope) < tokens.SCOPES.index(scope):
            raise UsageError(
                "scope_too_small",
                f"this needs a token of scope {scope}; {caller.name} has {caller.scope}",
                remedy=f"`qmrunner token add NAME --scope {scope}` makes one",
            )
        return caller

    return check


async def still_valid(service: Service, caller: Caller) -> bool:
    """Whether what opened a stream would open it now."""
    if caller.secret is None:
        return await service.ask(lambda: _count(service)) == 0
    secret = caller.secret
    return await service.ask(lambda: _find(service, secret)) is not None


def _take(service: Service, client: str) -> None:
    seconds = service.rate.take(client)
    if seconds is not None:
        raise rate_limited(seconds)


async def _caller(service: Service, request: Request, secret: str | None) -> Caller:
    if secret is not None:
        found = await service.ask(lambda: _find(service, secret))
        if found is not None:
            return Caller(found.name, found.scope, secret)
    if service.trusts_everybody and await service.ask(lambda: _count(service)) == 0:
        _refuse_browsers(request)
        return Caller(None, "admin")
    if secret is None:
        raise UsageError(
            "token_needed",
            "this needs a token",
            remedy="send `Authorization: Bearer SECRET`; `qmrunner token add NAME --scope read|write|admin` makes one",
        )
    raise UsageError(
        "token_refused", "this token is unknown or was revoked", remedy="`qmrunner token list` shows which there are"
    )


def _refuse_browsers(request: Request) -> None:
    """Without tokens, a page of any site that somebody here looks at could send requests to loopback, or read answers
    under a name of its own that it makes point here. Neither has our Host and Origin."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    origin = request.headers.get("origin")
    if host in _LOOPBACK and (origin is None or urlsplit(origin).netloc == request.headers["host"]):
        return
    raise UsageError(
        "cross_origin",
        "without tokens only requests for localhost are answered, and none of other sites' pages",
        evidence=f"Host {request.headers.get('host')!r}, Origin {origin!r}"[:200],
        remedy="ask http://127.0.0.1 or http://localhost, or make tokens: `qmrunner token add NAME --scope write`",
    )


def _find(service: Service, secret: str) -> tokens.Token | None:
    with service.app.store.read() as connection:
        return tokens.find(connection, secret)


def _count(service: Service) -> int:
    with service.app.store.read() as connection:
        return tokens.count(connection)
