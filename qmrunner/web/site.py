"""All pages of this server as routes, and the page of an error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse

from qmrunner.api.access import Caller, page_needs, page_open_to_all
from qmrunner.api.errors import refusal, status_of
from qmrunner.api.pages import Pages
from qmrunner.api.service import Service, service_of
from qmrunner.errors import NotFoundError, QmrunnerError
from qmrunner.web import (
    actions,
    bulk,
    job_list,
    job_page,
    machine,
    many,
    new_job,
    overview,
    render,
    result_page,
    signin,
    upkeep,
)
from qmrunner.web.hub import Hub
from qmrunner.web.look import Ask, Page, query_of

# A module of pages has PAGES, ROUTER, or both.
_MODULES: tuple[Any, ...] = (
    overview, new_job, many, bulk, job_list, job_page, result_page, machine, upkeep, actions, signin,
)  # fmt: skip
_FOR_EVER = "public, max-age=31536000, immutable"


def pages() -> Pages:
    """The pages, for `api.server.serve`."""
    own = APIRouter(include_in_schema=False)
    own.add_api_route(
        "/static/{whole}/{name:path}", _static, response_class=Response, dependencies=[Depends(page_open_to_all())]
    )
    for module in _MODULES:
        for page in getattr(module, "PAGES", ()):
            _add(own, page)
    # Routers first: /jobs/new is not a job.
    return Pages([*(module.ROUTER for module in _MODULES if hasattr(module, "ROUTER")), own], error_page, _running)


def error_page(request: Request, problem: QmrunnerError) -> Response:
    """The page of an error. Without a session, a page that was only looked for leads to the page that signs in."""
    if problem.code in ("token_needed", "token_refused") and request.method == "GET":
        if request.url.path.startswith("/live/"):
            return refusal(problem)
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted)}", 303, render.headers(https=render.is_https(request)))
    plain = refusal(problem)
    made = render.page(request, "error.html", {"problem": problem.as_dict()}, status=status_of(problem))
    for name in ("retry-after", "allow", "www-authenticate"):
        if name in plain.headers:
            made.headers[name] = plain.headers[name]
    return made


def hub_of(request: Request) -> Hub:
    found: Hub = request.app.state.hub
    return found


@asynccontextmanager
async def _running(api: FastAPI) -> AsyncIterator[None]:
    hub = api.state.hub = Hub(api.state.service)
    yield
    await hub.close()


async def _static(request: Request, whole: str, name: str) -> Response:
    """A file that pages load. An old hash gets the file of today, which no cache keeps."""
    found = render.FILES.by_name.get(name)
    if found is None:
        raise NotFoundError(
            "file_unknown", f"there is no file {name[:100]!r}", remedy="deploy/assets.py brings those of other projects"
        )
    cached = _FOR_EVER if whole == render.FILES.hash else "no-store"
    headers = {**render.headers(https=render.is_https(request)), "Cache-Control": cached, "Vary": "Accept-Encoding"}
    packed = found.packed() if "gzip" in request.headers.get("accept-encoding", "") else None
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(found.data if packed is None else packed, headers=headers, media_type=found.media_type)


def _add(router: APIRouter, page: Page) -> None:
    """The route of a page, and that of its stream."""
    needed = [Depends(page_needs(page.scope))]

    async def show(request: Request) -> Response:
        service, caller = service_of(request), request.state.caller
        ask = await _ask(request, service, caller, page)
        facts = await service.ask(lambda: page.facts(ask))
        return render.page(request, page.template, facts, live=page.live)

    async def stream(request: Request) -> Response:
        service, caller = service_of(request), request.state.caller
        ask = await _ask(request, service, caller, page)
        known = ask.word("_seen")
        query = {name: words for name, words in ask.query.items() if name != "_seen"}
        ask = replace(ask, query=query, live=True)
        context = {**render.common(request), "live_url": None, "here": request.url.path.removeprefix("/live") or "/"}
        await service.ask(lambda: page.facts(ask))  # an unknown job is refused, not streamed
        await request.state.held.enter_async_context(service.streams.place())
        chunks = hub_of(request).follow(page, ask, context, caller, known)
        more = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        headers = {**render.headers(https=render.is_https(request)), **more}
        return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)

    router.add_api_route(page.path, show, response_class=Response, dependencies=needed)
    if page.live:
        router.add_api_route(f"/live{page.path}", stream, response_class=Response, dependencies=needed)


async def _ask(request: Request, service: Service, caller: Caller, page: Page) -> Ask:
    query = query_of(request.query_params.multi_items())
    path = {name: str(value) for name, value in request.path_params.items()}
    ask = Ask(service.app, path, query, caller.scope)
    return ask if page.prepare is None else replace(ask, given=await page.prepare(request, ask))
