"""Routes of the check before a submission, and of many submissions in one request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from qmrunner.api import check_schemas
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import Sender
from qmrunner.api.service import service_of
from qmrunner.api.upload import lines
from qmrunner.api.upload.forms import PRINTABLE
from qmrunner.api.upload.request import inspect

router = APIRouter(prefix="/v1", tags=["jobs"], responses=errors(400, 401, 403, 408, 413, 415, 422, 429, 503))


@router.post("/check", response_model=check_schemas.Verdict)
async def check(request: Request, caller: Sender) -> Json:
    """Report what a job would cost, and what is doubtful about its input. Stores nothing.

    The body is that of `POST /v1/jobs`, with the same checks: input that a submission refuses is refused here, too.
    """
    return Json(await inspect(service_of(request), request.app.state.children, request, caller))


@router.post(
    "/jobs/many",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            "description": "For each line, in order: `line` and `id`, `new`; or `verdict`; or `error`.",
        }
    },
)
async def many(
    request: Request,
    caller: Sender,
    group: Annotated[
        str | None,
        Query(min_length=1, max_length=200, pattern=PRINTABLE, description="Group of all jobs that name none."),
    ] = None,
    dry_run: Annotated[bool, Query(description="Report the cost of each job, and store nothing.")] = False,
) -> StreamingResponse:
    """Submit many jobs: one JSON job on each line, at most 500, each with an optional `key` (idempotency).

    Each line is answered with a line as soon as its job is stored or refused; a refused line does not stop the others.
    """
    service = service_of(request)
    found = await lines.received(service, request, request.state.held)
    answers = lines.answers(service, request.app.state.children, caller, found, group=group, dry_run=dry_run)
    return StreamingResponse(answers, media_type="application/x-ndjson", headers={"X-Content-Type-Options": "nosniff"})
