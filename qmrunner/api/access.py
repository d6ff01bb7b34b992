"""Access control: bearer tokens with a scope; on loopback no token is needed while the store has none.

A route declares its needs as a dependency: `needs(scope, body=...)`, or `open_to_all`. The gate reads the declaration
and admits the caller before the server receives any of the request's body; the dependency returns the caller.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from qmrunner.api.errors import rate_limited
from qmrunner.api.service import Service
from qmrunner.api.shares import CLIENT
from qmrunner.errors import UsageError
from qmrunner.store import tokens

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer SECRET`, from `qmrunner token add`.")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Bodies up to here are read whole and parsed by the framework: a few ms at most.
SMALL_BODY = 1 << 16


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: the name of the token, None where no token is needed. Submitted jobs belong to that name."""

    name: str | None
    scope: str
    secret: str | None = None


@dataclass(frozen=True)
class Needs:
    """The needs of a route: a scope, None where no token is needed, and the maximum size of the body in bytes."""

    scope: str | None
    body: int | None = 0  # None: as large as the settings allow, and the route receives it itself

    def met_by(self, caller: Caller) -> bool:
        return self.scope is None or tokens.SCOPES.index(caller.scope) >= tokens.SCOPES.index(self.scope)


class _Guarded(Needs):
    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Caller:
        caller: Caller = request.state.caller
        assert self.met_by(caller)  # the gate has admitted the caller
        return caller


class _Open(Needs):
    async def __call__(self) -> None: ...


def needs(scope: str, body: int | None = 0) -> _Guarded:
    """The dependency of a route that only callers with this scope, or a larger one, may use."""
    return _Guarded(scope, body)


open_to_all = _Open(None)


async def admit(service: Service, wanted: Needs, headers: Mapping[str, str], address: str) -> Caller:
    """The caller of a request with these headers, after checks of its token, of the scope `wanted` by the route, and of
    its request rate.

    From here on the request uses its client's shares. Raises UsageError `token_needed`, `token_refused`,
    `cross_origin`, `scope_too_small`; TooMany.
    """
    CLIENT.set(f"address {_network(address)}")
    if wanted.scope is None:
        return Caller(None, tokens.SCOPES[0])
    kind, _, secret = headers.get("authorization", "").partition(" ")
    try:
        caller = await _caller(service, headers, secret.strip() if kind.lower() == "bearer" else None)
    except UsageError:
        _take(service)  # slows down guessing of secrets
        raise
    if caller.name is not None:
        CLIENT.set(f"token {caller.name}")
    _take(service)
    if not wanted.met_by(caller):
        raise UsageError(
            "scope_too_small",
            f"this route needs a token of scope {wanted.scope}; {caller.name} has {caller.scope}",
            remedy=f"`qmrunner token add NAME --scope {wanted.scope}` creates one",
        )
    return caller


async def still_valid(service: Service, caller: Caller) -> bool:
    """Whether the token that opened a stream is still valid."""
    if caller.secret is None:
        return await service.ask(lambda: _count(service)) == 0
    secret = caller.secret
    return await service.ask(lambda: _find(service, secret)) is not None


def _network(address: str) -> str:
    """The IPv4 address, or the first half of the IPv6 address: one client owns the whole second half."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _take(service: Service) -> None:
    seconds = service.rate.take(CLIENT.get())
    if seconds is not None:
        raise rate_limited(seconds)


async def _caller(service: Service, headers: Mapping[str, str], secret: str | None) -> Caller:
    if secret is not None:
        found = await service.ask(lambda: _find(service, secret))
        if found is not None:
            return Caller(found.name, found.scope, secret)
    if service.trusts_everybody and await service.ask(lambda: _count(service)) == 0:
        _refuse_browsers(headers)
        return Caller(None, "admin")
    if secret is None:
        raise UsageError(
            "token_needed",
            "this route needs a token",
            remedy="send `Authorization: Bearer SECRET`; new token: `qmrunner token add NAME --scope read|write|admin`",
        )
    raise UsageError(
        "token_refused", "this token is unknown or was revoked", remedy="`qmrunner token list` lists the tokens"
    )


def _refuse_browsers(headers: Mapping[str, str]) -> None:
    """Refuse requests of other sites' pages while there are no tokens. A page in a local browser could send requests to
    loopback, or read responses by DNS rebinding; neither has the Host and Origin of this server."""
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    origin = headers.get("origin")
    if host in _LOOPBACK and (origin is None or urlsplit(origin).netloc == headers["host"]):
        return
    raise UsageError(
        "cross_origin",
        "without tokens, only requests to localhost are accepted, and none from pages of other sites",
        evidence=f"Host {headers.get('host')!r}, Origin {origin!r}"[:200],
        remedy="use http://127.0.0.1 or http://localhost, or create a token: `qmrunner token add NAME --scope write`",
    )


def _find(service: Service, secret: str) -> tokens.Token | None:
    with service.app.store.read() as connection:
        return tokens.find(connection, secret)


def _count(service: Service) -> int:
    with service.app.store.read() as connection:
        return tokens.count(connection)
