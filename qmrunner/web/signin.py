"""Sign in with a token or a code of `qmrunner web`, and sign out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from qmrunner.api.access import LOOPBACK, SMALL_BODY, Caller, foreign_page, is_own_page, page_needs, page_open_to_all
from qmrunner.api.cookies import host_of, name_of
from qmrunner.api.errors import rate_limited, status_of
from qmrunner.api.rate_limit import Rate
from qmrunner.api.service import Service, service_of
from qmrunner.api.shares import CLIENT
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.store import sessions, tokens
from qmrunner.web import render
from qmrunner.web.links import own_path

_PER_MINUTE = 5
_LONGEST = 200
ROUTER = APIRouter(include_in_schema=False)


@ROUTER.get("/login", response_class=Response, dependencies=[Depends(page_open_to_all())])
async def form(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """The page that signs in; where no sign-in is needed it leads on."""
    service = service_of(request)
    if service.trusts_everybody and await service.ask(lambda: _count(service)) == 0:
        return _onwards(request, next)
    return render.page(request, "login.html", {"next": own_path(next), "problem": None})


@ROUTER.post("/login", response_class=Response, dependencies=[Depends(page_open_to_all(SMALL_BODY))])
async def sign_in(
    request: Request,
    secret: Annotated[str, Form(max_length=_LONGEST)] = "",
    code: Annotated[str, Form(max_length=_LONGEST)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Open a session, and lead to the page that was wanted."""
    service = service_of(request)
    try:
        _check(request, service)
        opened = await service.ask(lambda: _open(service, secret.strip(), code.strip()))
    except QmrunnerError as problem:
        values: dict[str, Any] = {"next": own_path(next), "problem": problem.as_dict()}
        return render.page(request, "login.html", values, status=status_of(problem))
    answer = _onwards(request, next)
    https = render.is_https(request)
    answer.set_cookie(
        _cookie(request, https=https), opened, max_age=int(sessions.LONGEST_S), path="/", httponly=True,
        secure=https, samesite="strict",
    )  # fmt: skip
    return answer


@ROUTER.post("/logout", response_class=Response)
async def sign_out(request: Request, caller: Annotated[Caller, Depends(page_needs("read"))]) -> Response:
    """End this session."""
    service = service_of(request)

    def end() -> None:
        if caller.session is not None:
            with service.app.store.write() as connection:
                sessions.close(connection, caller.session)

    await service.ask(end)
    answer = RedirectResponse("/login", 303, render.headers(https=render.is_https(request)))
    https = render.is_https(request)
    answer.delete_cookie(
        _cookie(request, https=https),
        path="/",
        httponly=True,
        secure=https,
        samesite="strict",
    )
    return answer


def _check(request: Request, service: Service) -> None:
    """Raises UsageError `cross_origin`, `tls_needed`; TooMany for guesses."""
    headers = request.state.checked
    if not is_own_page(headers):
        raise foreign_page(headers)
    plain = not render.is_https(request) and host_of(headers) not in LOOPBACK
    if plain and service.app.settings.api_plain_sign_in != "on":
        raise UsageError(
            "tls_needed",
            "signing in over plain http would show the token to the network",
            remedy="put a proxy with TLS in front and set QMRUNNER_API_URL to its https address, or use "
            "`ssh -L 8642:localhost:8642 HOST` and open http://localhost:8642; "
            "QMRUNNER_API_PLAIN_SIGN_IN=on allows it",
        )
    guesses: Rate | None = getattr(request.app.state, "guesses", None)
    if guesses is None:
        guesses = request.app.state.guesses = Rate(_PER_MINUTE)
    seconds = guesses.take(CLIENT.get())
    if seconds is not None:
        raise rate_limited(seconds)


def _open(service: Service, secret: str, code: str) -> str:
    store = service.app.store
    with store.write() as connection:
        if code:
            return sessions.open_with_code(connection, store.now(), code)[0]
        found = tokens.find(connection, secret)
        if found is None:
            raise UsageError(
                "token_refused", "this token is unknown or was revoked", remedy="`qmrunner token list` lists the tokens"
            )
        return sessions.open_for(connection, store.now(), found.name)


def _onwards(request: Request, wanted: str) -> Response:
    return RedirectResponse(own_path(wanted), 303, render.headers(https=render.is_https(request)))


def _count(service: Service) -> int:
    with service.app.store.read() as connection:
        return tokens.count(connection)


def _cookie(request: Request, *, https: bool) -> str:
    return name_of(request.state.checked, https=https, prefix=render.prefix(request))
