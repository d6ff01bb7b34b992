"""Forms that move jobs, workers and the store, and lead back to the page that they were on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.responses import RedirectResponse

from qmrunner.api.access import SMALL_BODY, page_needs
from qmrunner.api.service import Service, service_of
from qmrunner.errors import NotFoundError, UsageError
from qmrunner.store import jobs as job_store
from qmrunner.store import operator_actions, workers
from qmrunner.web import render
from qmrunner.web.links import own_path

ROUTER = APIRouter(include_in_schema=False)
_WRITE = [Depends(page_needs("write", SMALL_BODY))]
_ADMIN = [Depends(page_needs("admin", SMALL_BODY))]
_JOB: dict[str, Callable[..., Any]] = {
    "cancel": operator_actions.cancel, "hold": operator_actions.hold, "release": operator_actions.release,
}  # fmt: skip
Verb = Annotated[str, Form(max_length=40)]
Back = Annotated[str, Form(max_length=2000)]


@ROUTER.post("/jobs/{job_id}/do", response_class=Response, dependencies=_WRITE)
async def move(
    request: Request,
    job_id: str,
    verb: Verb,
    back: Back = "/",
    altering: Annotated[str, Form(max_length=5)] = "",
    value: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Cancel, retry, hold or release one job, or set its priority."""
    checked, by = job_store.checked_id(job_id), request.state.caller.name

    def act(service: Service) -> None:
        with service.app.store.write() as connection:
            now = service.app.store.now()
            if verb == "retry":
                operator_actions.retry(connection, now, checked, altering == "yes", by=by)
            elif verb == "priority":
                operator_actions.priority(connection, now, checked, priority_of(value), by=by)
            elif verb in _JOB:
                _JOB[verb](connection, now, checked, by=by)
            else:
                raise _unknown(verb)

    return await _done(request, act, back)


@ROUTER.post("/workers/{worker_id}/do", response_class=Response, dependencies=_ADMIN)
async def worker(request: Request, worker_id: str, verb: Verb, back: Back = "/workers") -> Response:
    """Drain a worker, or end its drain."""

    def act(service: Service) -> None:
        if verb not in ("drain", "resume"):
            raise _unknown(verb)
        with service.app.store.write() as connection:
            homes = {str(row["id"]): row["home_id"] for row in workers.all_workers(connection)}
            if worker_id not in homes:
                raise NotFoundError(
                    "worker_unknown", f"no worker {worker_id[:40]!r} is running", remedy="/workers lists them"
                )
            workers.set_drain(
                connection,
                service.app.store.now(),
                homes[worker_id],
                draining=verb == "drain",
                by=request.state.caller.name,
            )

    return await _done(request, act, back)


@ROUTER.post("/system/do", response_class=Response, dependencies=_ADMIN)
async def system(request: Request, verb: Verb, back: Back = "/system") -> Response:
    """Pause all workers of the store, or end the pause."""

    def act(service: Service) -> None:
        if verb not in ("pause", "resume"):
            raise _unknown(verb)
        with service.app.store.write() as connection:
            workers.set_paused(connection, service.app.store.now(), verb == "pause", by=request.state.caller.name)

    return await _done(request, act, back)


async def _done(request: Request, act: Callable[[Service], None], back: str) -> Response:
    service = service_of(request)
    await service.ask(lambda: act(service))
    service.app.queue.notify()
    request.app.state.hub.wake()
    return RedirectResponse(own_path(back), 303, render.headers(https=render.is_https(request)))


def priority_of(text: str) -> int:
    """The priority of a form. Raises UsageError `bad_field`."""
    try:
        value = int(text)
    except ValueError:
        value = 9999
    if not -1000 <= value <= 1000:
        raise UsageError(
            "bad_field", "a priority is a whole number from -1000 to 1000", evidence=text or None, remedy="write digits"
        )
    return value


def _unknown(verb: str) -> UsageError:
    return UsageError("unknown_action", f"there is no action {verb[:40]!r}", remedy="use the buttons of the page")
