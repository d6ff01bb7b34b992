"""The application: routes, errors, and the description that /openapi.json gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from qmrunner import __version__
from qmrunner.api import answers, jobs, operations, streams
from qmrunner.api.access import needs
from qmrunner.api.answers import Json
from qmrunner.api.children import Children
from qmrunner.api.forms import EXAMPLES, FORM
from qmrunner.api.metrics import Metrics
from qmrunner.api.middleware import Outermost
from qmrunner.api.service import Service

_ABOUT = """Quantum chemistry jobs: hand in, watch, fetch. The same checks as on the command line.

Errors are `{"error": {"code", "message", "evidence", "remedy"}}`; codes stay. With tokens, every route but
`/healthz` and `/readyz` needs `Authorization: Bearer SECRET`: `read` looks, `write` also hands in and moves jobs,
`admin` also stops workers and makes tokens."""
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request gives the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"},
}


def build(service: Service) -> FastAPI:
    """All routes over one service."""
    children = Children()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        children.close()

    api = FastAPI(
        title="qmrunner", version=__version__, description=_ABOUT, lifespan=lifespan,
        openapi_url=None, docs_url=None, redoc_url=None,
    )  # fmt: skip
    api.state.service, api.state.children, api.state.metrics = service, children, Metrics()
    for room in (jobs, streams, operations):
        api.include_router(room.router)
    api.add_api_route("/openapi.json", _openapi, include_in_schema=False, dependencies=[Depends(needs("read"))])
    api.add_api_route("/docs", _docs, include_in_schema=False, dependencies=[Depends(needs("read"))])
    answers.register(api)
    api.add_middleware(Outermost, service=service)
    api.openapi = lambda: _described(api)  # type: ignore[method-assign]
    return api


async def _openapi(request: Request) -> Json:
    return Json(request.app.openapi())


async def _docs() -> HTMLResponse:
    return get_swagger_ui_html(openapi_url="openapi.json", title="qmrunner")


def _described(api: FastAPI) -> dict[str, Any]:
    if api.openapi_schema is None:
        schema = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
        _describe_submission(schema)
        api.openapi_schema = schema
    return api.openapi_schema


def _describe_submission(schema: dict[str, Any]) -> None:
    """One route takes two kinds of body, which the framework cannot say by itself."""
    form = FORM.json_schema(ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"] |= form.pop("$defs")
    schema["components"]["schemas"]["JobForm"] = form
    reference = {"$ref": "#/components/schemas/JobForm"}
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    route = schema["paths"]["/v1/jobs"]["post"]
    route["parameters"] = [*route.get("parameters", []), _KEY]
    route["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": reference, "examples": EXAMPLES},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["job"], "properties": {"job": reference, "file": files}},
                "encoding": {"job": {"contentType": "application/json"}},
            },
        },
    }
