"""Route of the check before a submission."""

from __future__ import annotations

from fastapi import APIRouter, Request

from qmrunner.api import check_schemas
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import Sender
from qmrunner.api.service import service_of
from qmrunner.api.upload.request import inspect

router = APIRouter(prefix="/v1", tags=["jobs"], responses=errors(400, 401, 403, 408, 413, 415, 422, 429, 503))


@router.post("/check", response_model=check_schemas.Verdict)
async def check(request: Request, caller: Sender) -> Json:
    """Report what a job would cost, and what is doubtful about its input. Stores nothing.

    The body is that of `POST /v1/jobs`, with the same checks: input that a submission refuses is refused here, too.
    """
    return Json(await inspect(service_of(request), request.app.state.children, request, caller))
