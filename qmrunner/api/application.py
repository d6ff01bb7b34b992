"""The application: routes, errors, and the description that /openapi.json gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from qmrunner import __version__
from qmrunner.api import docpage, errors
from qmrunner.api.access import needs
from qmrunner.api.errors import Json
from qmrunner.api.gate import Gate, ways
from qmrunner.api.metrics import Metrics
from qmrunner.api.middleware import Outermost
from qmrunner.api.pages import Pages
from qmrunner.api.prefix import Prefixed
from qmrunner.api.routes import bulk, check, history, jobs, operations, results, state, streams
from qmrunner.api.service import Service
from qmrunner.api.upload.forms import EXAMPLES, FORM
from qmrunner.api.upload.request import sweep
from qmrunner.api.upload.sandbox import Children

_ABOUT = """Submit, watch and fetch quantum chemistry jobs, with the same checks as on the command line.

Errors are `{"error": {"code", "message", "evidence", "remedy"}}`; error codes are stable. Once a token
exists, every route except `/healthz` and `/readyz` needs `Authorization: Bearer SECRET`: scope `read` views, `write`
also submits and controls jobs, `admin` also stops workers and manages tokens."""
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeating a request with the same key returns the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"},
}


def build(service: Service, pages: Pages | None = None) -> FastAPI:
    """All routes over one service, with pages where there are any."""
    children = Children()

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        sweep(service.app.settings.run_root)
        children.keep_warm()
        async with nullcontext() if pages is None else pages.running(api):
            yield
        children.close()

    api = FastAPI(
        title="qmrunner", version=__version__, description=_ABOUT, lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    api.state.service, api.state.children, api.state.metrics = service, children, Metrics()
    api.state.pages = pages
    rooms = [room.router for room in (bulk, jobs, check, streams, results, history, state, operations)]
    own = APIRouter(dependencies=[Depends(needs("read"))], include_in_schema=False)
    own.add_api_route("/openapi.json", _openapi)
    if pages is None:  # they have their own
        own.add_api_route("/docs", _docs, response_class=HTMLResponse)
    rooms.append(own)
    rooms.extend(pages.routers if pages is not None else ())
    for room in rooms:
        api.include_router(room)
    errors.register(api)
    api.state.ways = ways(route for room in rooms for route in room.routes)
    api.add_middleware(Gate, service=service, table=api.state.ways)
    api.add_middleware(Outermost, service=service)
    if service.app.settings.api_prefix:
        api.add_middleware(Prefixed, prefix=service.app.settings.api_prefix)
    api.openapi = lambda: _described(api)  # type: ignore[method-assign]
    return api


async def _openapi(request: Request) -> Json:
    return Json(request.app.openapi())


async def _docs(request: Request) -> HTMLResponse:
    return HTMLResponse(docpage.page(request.app.openapi()), headers=docpage.HEADERS)


def _described(api: FastAPI) -> dict[str, Any]:
    if api.openapi_schema is None:
        schema = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
        _describe_submission(schema)
        prefix = api.state.service.app.settings.api_prefix
        if prefix:
            schema["servers"] = [{"url": prefix}]
        api.openapi_schema = schema
    return api.openapi_schema


def _describe_submission(schema: dict[str, Any]) -> None:
    """Describe the two body types of a submission and of its check, which the framework cannot describe itself."""
    form = FORM.json_schema(ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"] |= form.pop("$defs")
    schema["components"]["schemas"]["JobForm"] = form
    reference = {"$ref": "#/components/schemas/JobForm"}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    body = {
        "required": True,
        "content": {
            "application/json": {"schema": reference, "examples": EXAMPLES},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["job"], "properties": {"job": reference, "file": files}},
                "encoding": {"job": {"contentType": "application/json"}},
            },
        },
    }
    schema["paths"]["/v1/check"]["post"]["requestBody"] = body
    line = {"type": "string", "description": "One JobForm on each line, with an optional field `key`."}
    jobs = [{"kind": "nmr", "smiles": "CCO", "key": "batch7-1"}, {"kind": "nmr", "smiles": "CCN", "key": "batch7-2"}]
    example = "".join(f"{json.dumps(job)}\n" for job in jobs)
    schema["paths"]["/v1/jobs/many"]["post"]["requestBody"] = {
        "required": True,
        "content": {"application/x-ndjson": {"schema": line, "example": example}},
    }
    route = schema["paths"]["/v1/jobs"]["post"]
    route["parameters"] = [*route.get("parameters", []), _KEY]
    route["requestBody"] = body
