"""Routes of jobs: submit, list, view, control."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import StreamingResponse

from qmrunner.api import filters, schemas
from qmrunner.api.access import Caller, needs
from qmrunner.api.errors import Json, errors
from qmrunner.api.files import Opened, published_file, published_files
from qmrunner.api.service import Service, service_of
from qmrunner.api.upload.request import receive
from qmrunner.model.job_filter import JobFilter
from qmrunner.reports import arguments, status, why
from qmrunner.reports import jobs as job_lists
from qmrunner.store import jobs as job_store
from qmrunner.store import operator_actions

DOWNLOAD_WAIT_S = 20.0

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=errors(400, 401, 403, 404, 422, 429, 503))
Reader = Annotated[Caller, Depends(needs("read"))]
Writer = Annotated[Caller, Depends(needs("write"))]
Sender = Annotated[Caller, Depends(needs("write", None))]


@router.post(
    "",
    status_code=201,
    response_model=schemas.Accepted,
    responses={
        200: {"model": schemas.Accepted, "description": "The job submitted with this key before."},
        **errors(408, 409, 413, 415),
    },
)
async def submit(request: Request, caller: Sender) -> Json:
    """Submit a job. The job is stored durably before its id is returned.

    As JSON, or as multipart/form-data with the JSON in a part `job` and each file in a part `file`, the input first.
    With an `Idempotency-Key`, a repeated request returns 200 and the same id; another request with that key gets 409.
    """
    service = service_of(request)
    accepted = await receive(service, request.app.state.children, request, caller)
    location = {"Location": f"/v1/jobs/{accepted.job_id}"}
    return Json({"id": accepted.job_id}, 201 if accepted.new else 200, location)


@router.get("", response_model=schemas.JobPage)
async def listing(
    request: Request,
    _: Reader,
    wanted: Annotated[JobFilter, Depends(filters.of_request)],
    count: Annotated[bool, Query(description="Also count them, by state, up to a bound.")] = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,15}$", description="`next` of the previous page.")] = None,
) -> Json:
    """List jobs, newest first.

    All conditions must hold; several values of one parameter are alternatives. `q` is the query language of the web
    page, for example `state:failed code:hung owner:alice since:7d text`.
    """
    service = service_of(request)
    before = None if cursor is None else int(cursor)
    return Json(await service.ask(lambda: job_lists.page(service.app, limit, wanted, before=before, count=count)))


@router.get("/{job_id}", response_model=schemas.JobAnswer | schemas.JobSummaryAnswer)
async def job(
    request: Request,
    job_id: str,
    _: Reader,
    steps: Annotated[
        Literal["full", "summary"],
        Query(description="`summary` returns `stages` with one letter for each step instead of the steps."),
    ] = "full",
) -> Json:
    """Return one job with its steps and their progress."""
    ask = job_lists.summary if steps == "summary" else status.job_view
    return Json(without(await look(request, ask, job_id), "log"))


@router.get("/{job_id}/arguments", response_model=schemas.Arguments)
async def shown_arguments(request: Request, job_id: str, _: Writer) -> Json:
    """Return the arguments of a task of a Huey application as text. They may hold secrets: scope write is needed."""
    return Json(await look(request, arguments.view, job_id))


@router.get("/{job_id}/why", response_model=schemas.WhyAnswer)
async def explain(request: Request, job_id: str, _: Reader) -> Json:
    """Explain the state of a job: what happens or went wrong, the evidence, and the next command."""
    return Json(without(await look(request, why.view, job_id), "log"))


@router.get("/{job_id}/result", response_model=schemas.ResultAnswer, responses=errors(409))
async def result(request: Request, job_id: str, _: Reader) -> Json:
    """Return the shifts, energies and files of a job that succeeded; 409 before that."""
    return Json(without(await look(request, status.result_view, job_id), "folder"))


@router.get("/{job_id}/files", response_model=schemas.FileList)
async def files(request: Request, job_id: str, _: Reader) -> Json:
    """List the files that the job has published so far, including its input."""
    found = await look(request, published_files, job_id)
    return Json({"files": [{"name": name, "bytes": size} for name, size in found]})


@router.get(
    "/{job_id}/files/{name:path}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file, byte for byte."},
    },
)
async def download(request: Request, job_id: str, name: str, _: Reader) -> StreamingResponse:
    """Download one published file."""
    await request.state.held.enter_async_context(service_of(request).downloads.place(DOWNLOAD_WAIT_S))
    opened: Opened = await look(request, published_file, job_id, name)
    headers = {
        "Content-Length": str(opened.size),
        "Content-Disposition": "attachment",  # an SVG or HTML file of a job must not run as a page of this server
        "X-Content-Type-Options": "nosniff",
    }
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    request.state.held.callback(opened.file.close)
    return StreamingResponse(opened.chunks(), headers=headers, media_type=kind)


@router.post("/{job_id}/cancel", response_model=schemas.Moved, responses=errors(409))
async def cancel(request: Request, job_id: str, caller: Writer) -> Json:
    """Cancel a job: waiting steps at once, running engines by SIGTERM and, after the grace period, SIGKILL."""
    return await moved_by(request, caller, operator_actions.cancel, job_id)


@router.post("/{job_id}/retry", response_model=schemas.Moved, responses=errors(409))
async def retry(
    request: Request,
    job_id: str,
    caller: Writer,
    allow_altering: Annotated[
        bool, Query(description="Allow remedies that alter the result; each one is recorded.")
    ] = False,
) -> Json:
    """Run the unsuccessful steps of a failed or cancelled job again; finished steps are kept."""
    return await moved_by(request, caller, operator_actions.retry, job_id, allow_altering)


@router.post("/{job_id}/hold", response_model=schemas.Moved, responses=errors(409))
async def hold(request: Request, job_id: str, caller: Writer) -> Json:
    """Start no more steps of a job; running steps finish."""
    return await moved_by(request, caller, operator_actions.hold, job_id)


@router.post("/{job_id}/release", response_model=schemas.Moved, responses=errors(409))
async def release(request: Request, job_id: str, caller: Writer) -> Json:
    """Release a held job, so that its steps start again."""
    return await moved_by(request, caller, operator_actions.release, job_id)


async def look(request: Request, ask: Callable[..., Any], job_id: str, *more: Any) -> Any:
    """The result of `ask(app, job_id, *more)`. Raises NotFoundError first for an id that no job can have."""
    service = service_of(request)
    checked = job_store.checked_id(job_id)
    return await service.ask(lambda: ask(service.app, checked, *more))


async def moved_by(request: Request, caller: Caller, verb: Callable[..., Any], job_id: str, *more: Any) -> Json:
    """The answer of an action that `caller` asked for."""
    service, checked = service_of(request), job_store.checked_id(job_id)
    return Json(await service.ask(lambda: _moved(service, caller, verb, checked, *more)))


def _moved(service: Service, caller: Caller, verb: Callable[..., Any], job_id: str, *more: Any) -> dict[str, Any]:
    with service.app.store.write() as connection:
        moved = verb(connection, service.app.store.now(), job_id, *more, by=caller.name)
    service.app.queue.notify()
    return {"id": moved.id, "state": moved.state, "cancel_requested": moved.cancel_requested}


def without(value: Any, name: str) -> Any:
    """A copy without the keys called `name`: paths of the server are not shown to clients."""
    if isinstance(value, dict):
        return {key: without(item, name) for key, item in value.items() if key != name}
    return [without(item, name) for item in value] if isinstance(value, list) else value
