"""Access control: bearer tokens with a scope, and sessions of the pages, which belong to a token. On loopback no token
is needed while the store has none.

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

from qmrunner.api import cookies
from qmrunner.api.errors import rate_limited
from qmrunner.api.service import Service
from qmrunner.api.shares import CLIENT
from qmrunner.errors import UsageError
from qmrunner.store import sessions, tokens

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer SECRET`, from `qmrunner token add`.")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Bodies up to here are read whole and parsed by the framework: a few ms at most.
SMALL_BODY = 1 << 16


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: the name of the token, None where no token is needed. Submitted jobs belong to that name."""

    name: str | None
    scope: str
    secret: str | None = None
    session: str | None = None  # the hash of the session's secret, where a cookie signed in
    local: bool = False  # the user of a Unix socket, whose name is no token's

    def may(self, scope: str) -> bool:
        """Whether the caller's scope includes this one."""
        return tokens.SCOPES.index(self.scope) >= tokens.SCOPES.index(scope)


@dataclass(frozen=True)
class Needs:
    """The needs of a route: a scope, None where no token is needed, and the maximum size of the body in bytes."""

    scope: str | None
    body: int | None = 0  # None: as large as the settings allow, and the route receives it itself
    page: bool = False  # errors are pages, too

    def met_by(self, caller: Caller) -> bool:
        return self.scope is None or caller.may(self.scope)


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


def page_needs(scope: str, body: int | None = 0) -> _Guarded:
    """As `needs`, for a route that returns pages."""
    return _Guarded(scope, body, page=True)


def page_open_to_all(body: int | None = 0) -> _Open:
    """As `open_to_all`, for a route that returns pages or their parts."""
    return _Open(None, body, page=True)


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a page of this server sent the request: browsers say so, and scripts of other sites cannot change it.

    Browsers send Sec-Fetch-Site over https and on loopback, and Origin with every request that is not a GET."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return urlsplit(headers.get("origin", "")).netloc == headers.get("host", "") != ""


async def admit(service: Service, wanted: Needs, method: str, headers: Mapping[str, str], address: str) -> Caller:
    """The caller of a request with these headers, after checks of its token, of the scope `wanted` by the route, and of
    its request rate.

    From here on the request uses its client's shares. Raises UsageError `token_needed`, `token_refused`,
    `cross_origin`, `scope_too_small`; TooMany.
    """
    if service.user is not None:
        CLIENT.set(f"user {service.user}")
        return Caller(service.user, tokens.SCOPES[-1], local=True)
    CLIENT.set(f"address {_network(address)}")
    if wanted.scope is None:
        return Caller(None, tokens.SCOPES[0])
    kind, _, secret = headers.get("authorization", "").partition(" ")
    try:
        caller = await _caller(service, method, headers, secret.strip() if kind.lower() == "bearer" else None)
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
    """Whether the token or session that opened a stream is still valid."""
    if caller.local:
        return True
    if caller.session is not None:
        digest = caller.session
        return await service.ask(lambda: _session(service, digest)) is not None
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


async def _caller(service: Service, method: str, headers: Mapping[str, str], secret: str | None) -> Caller:
    cookie = cookies.session_of(headers, service.app.settings.api_prefix)
    if cookie is not None and "authorization" not in headers:
        digest = tokens.digest_of(cookie)
        found = await service.ask(lambda: _session(service, digest))
        if found is not None:
            if method not in ("GET", "HEAD") and not is_own_page(headers):
                raise foreign_page(headers)
            return Caller(found.token, found.scope, session=digest)
    if secret is not None:
        token = await service.ask(lambda: _find(service, secret))
        if token is not None:
            return Caller(token.name, token.scope, secret)
    if service.trusts_everybody and await service.ask(lambda: _count(service)) == 0:
        _refuse_browsers(method, headers)
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


def _refuse_browsers(method: str, headers: Mapping[str, str]) -> None:
    """Refuse requests of other sites' pages while there are no tokens. A page in a local browser could send requests to
    loopback, or read responses by DNS rebinding; neither has the Host and Origin of this server. A link on another
    site may open a page here."""
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    origin = headers.get("origin")
    foreign = method not in ("GET", "HEAD") and headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
    if host in LOOPBACK and not foreign and (origin is None or urlsplit(origin).netloc == headers["host"]):
        return
    raise UsageError(
        "cross_origin",
        "without tokens, only requests to localhost are accepted, and none from pages of other sites",
        evidence=f"Host {headers.get('host')!r}, Origin {origin!r}, site {headers.get('sec-fetch-site')!r}"[:200],
        remedy="use http://127.0.0.1 or http://localhost, or create a token: `qmrunner token add NAME --scope write`",
    )


def foreign_page(headers: Mapping[str, str]) -> UsageError:
    """The error for a request that changes something and comes from a page of another site."""
    seen = f"Sec-Fetch-Site {headers.get('sec-fetch-site')!r}, Origin {headers.get('origin')!r}"
    return UsageError(
        "cross_origin",
        "a session counts for requests of this server's own pages only",
        evidence=seen[:200],
        remedy="use the pages of this server, or send `Authorization: Bearer SECRET`",
    )


def _session(service: Service, digest: str) -> sessions.Session | None:
    store = service.app.store
    with store.read() as connection:
        found = sessions.of_digest(connection, store.now(), digest)
    if found is not None and sessions.is_due(found, store.now()):
        with store.write() as connection:
            sessions.touch(connection, store.now(), digest)
    return found


def _find(service: Service, secret: str) -> tokens.Token | None:
    with service.app.store.read() as connection:
        return tokens.find(connection, secret)


def _count(service: Service) -> int:
    with service.app.store.read() as connection:
        return tokens.count(connection)
