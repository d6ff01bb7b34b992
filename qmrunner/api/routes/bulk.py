"""Route of actions on many jobs, and of a job's priority."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from qmrunner.api import action_schemas, filters, schemas
from qmrunner.api.access import SMALL_BODY, Caller, needs
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import Writer, moved_by
from qmrunner.api.service import Service, service_of
from qmrunner.errors import UsageError
from qmrunner.model.job_filter import JobFilter
from qmrunner.store import bulk, operator_actions

_SKIPPED_SHOWN = 200
router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=errors(400, 401, 403, 404, 422, 429, 503))
WriterWithBody = Annotated[Caller, Depends(needs("write", SMALL_BODY))]


@router.post("/actions", response_model=action_schemas.ActionAnswer, responses=errors(408, 409, 413))
async def act(request: Request, form: action_schemas.ActionForm, caller: WriterWithBody) -> Json:
    """Cancel, retry, hold or release many jobs, or set their priority.

    The jobs are those with these `ids`, or all that meet `filter`.
    With `dry_run` nothing is changed: `moves` is the number of jobs that would be moved. `expect` is the largest number
    that may be moved; more of them give 409 `count_changed`. A filter needs `dry_run` or `expect`.
    """
    service = service_of(request)
    wanted = None if form.filter is None else await filters.of_form(request, form.filter)
    planned = await service.ask(lambda: _plan(service, form, wanted))
    if form.dry_run:
        return Json(_answer(form, planned, [], []))
    if form.expect is not None and len(planned.moves) > form.expect:
        raise UsageError(
            "count_changed",
            f"{len(planned.moves)} jobs would be moved, more than the expected {form.expect}",
            remedy="look at them with `dry_run`, then send the new number as `expect`",
        )
    return Json(await perform(service, form, planned, caller.name))


async def perform(
    service: Service, form: action_schemas.ActionForm, planned: bulk.Planned, by: str | None
) -> dict[str, Any]:
    """Move the planned jobs, a few in each transaction, so that no request holds the store for long."""
    moved, late = [], []
    for piece in bulk.pieces(planned.moves):
        jobs, skipped = await service.ask(
            lambda piece=piece: bulk.move(  # type: ignore[misc]
                service.app.store, form.verb, piece, by=by, allow_altering=form.allow_altering,
                priority=form.priority or 0,
            )
        )  # fmt: skip
        moved += jobs
        late += skipped
    service.app.queue.notify()
    return _answer(form, planned, moved, late)


@router.post("/{job_id}/priority", response_model=schemas.Moved, responses=errors(409))
async def priority(
    request: Request, job_id: str, caller: Writer, value: Annotated[int, Query(ge=-1000, le=1000)]
) -> Json:
    """Set the priority of a job; its steps that have not started take it, too."""
    return await moved_by(request, caller, operator_actions.priority, job_id, value)


def _plan(service: Service, form: action_schemas.ActionForm, wanted: JobFilter | None) -> bulk.Planned:
    with service.app.store.read() as connection:
        if wanted is None:
            return bulk.chosen(connection, form.verb, form.ids or ())
        return bulk.matching(connection, form.verb, wanted)


def _answer(
    form: action_schemas.ActionForm, planned: bulk.Planned, moved: list[Any], late: list[Any]
) -> dict[str, Any]:
    skipped = [*planned.skipped, *late]
    return {
        "verb": form.verb,
        "dry_run": form.dry_run,
        "matched": len(planned.moves) + len(planned.skipped),
        "more": planned.more,
        "moves": len(planned.moves) if form.dry_run else len(moved),
        "states": planned.states,
        "jobs": [{"id": job.id, "state": job.state, "cancel_requested": job.cancel_requested} for job in moved],
        "skipped": skipped[:_SKIPPED_SHOWN],
        "skipped_count": len(skipped),
    }
