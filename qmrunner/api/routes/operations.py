"""Routes of operators: workers, pause and drain, tokens, health."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from qmrunner import __version__
from qmrunner.api import schemas
from qmrunner.api.access import SMALL_BODY, Caller, needs, open_to_all
from qmrunner.api.errors import Json, errors
from qmrunner.api.metrics import Metrics
from qmrunner.api.service import Service, service_of
from qmrunner.errors import NotFoundError
from qmrunner.reports import status
from qmrunner.store import schema, tokens, workers
from qmrunner.store.rows import moment

router = APIRouter(tags=["operations"])
Reader = Annotated[Caller, Depends(needs("read"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
AdminWithBody = Annotated[Caller, Depends(needs("admin", SMALL_BODY))]
_OPEN = [Depends(open_to_all)]
_COMMON = errors(400, 401, 403, 422, 429, 503)


@router.get("/healthz", response_model=schemas.Health, responses=errors(400), dependencies=_OPEN)
async def healthz() -> Json:
    """Return 200 as long as the server runs. Needs no token."""
    return Json({"status": "ok", "version": __version__})


@router.get("/readyz", response_model=schemas.Health, responses=errors(400, 503), dependencies=_OPEN)
async def readyz(request: Request) -> Json:
    """Return 200 if the store answers and has the right schema, else 503. Needs no token."""
    service = service_of(request)
    await service.ask(lambda: schema.require_current(service.app.existing_store(), create=False))
    return Json({"status": "ok", "version": __version__})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics."}, **_COMMON},
)
async def metrics(request: Request, _: Reader) -> Response:
    """Metrics in the Prometheus text format; docs/reference/http.md describes each one."""
    service, found = service_of(request), request.app.state.metrics
    assert isinstance(found, Metrics)
    return Response(await service.ask(lambda: found.scrape(service)), media_type=found.media_type)


@router.get("/v1/workers", response_model=schemas.WorkerList, responses=_COMMON)
async def listing(request: Request, _: Reader) -> Json:
    """List all workers that have not ended, with their capacity and reservations."""
    service = service_of(request)
    return Json(await service.ask(lambda: _workers(service)))


@router.post("/v1/workers/{worker_id}/drain", response_model=schemas.WorkerRow, responses={**_COMMON, **errors(404)})
async def drain(request: Request, worker_id: str, caller: Admin) -> Json:
    """Drain a worker: it finishes its running steps and claims no more."""
    service = service_of(request)
    return Json(await service.ask(lambda: _drain(service, caller, worker_id, draining=True)))


@router.post("/v1/workers/{worker_id}/resume", response_model=schemas.WorkerRow, responses={**_COMMON, **errors(404)})
async def undrain(request: Request, worker_id: str, caller: Admin) -> Json:
    """End the drain of a worker, so that it claims steps again."""
    service = service_of(request)
    return Json(await service.ask(lambda: _drain(service, caller, worker_id, draining=False)))


@router.post("/v1/pause", response_model=schemas.WorkerList, responses=_COMMON)
async def pause(request: Request, caller: Admin) -> Json:
    """Pause the store: no worker starts a new step. Running engines keep running."""
    service = service_of(request)
    return Json(await service.ask(lambda: _pause(service, caller, paused=True)))


@router.post("/v1/resume", response_model=schemas.WorkerList, responses=_COMMON)
async def resume(request: Request, caller: Admin) -> Json:
    """End a pause of the store."""
    service = service_of(request)
    return Json(await service.ask(lambda: _pause(service, caller, paused=False)))


@router.get("/v1/tokens", response_model=schemas.TokenList, responses=_COMMON)
async def list_tokens(request: Request, _: Admin) -> Json:
    """List all tokens, without their secrets."""
    service = service_of(request)
    return Json({"tokens": await service.ask(lambda: _tokens(service))})


@router.post(
    "/v1/tokens", status_code=201, response_model=schemas.NewToken, responses={**_COMMON, **errors(408, 409, 413)}
)
async def add_token(request: Request, form: schemas.TokenForm, _: AdminWithBody) -> Json:
    """Create a token and return its secret, once. As soon as one token exists, every route needs one."""
    service = service_of(request)

    def add() -> str:
        with service.app.store.write() as connection:
            return tokens.add(connection, service.app.store.now(), form.name, form.scope)

    return Json({"name": form.name, "scope": form.scope, "secret": await service.ask(add)}, 201)


@router.delete("/v1/tokens/{name}", status_code=204, response_class=Response, responses={**_COMMON, **errors(404)})
async def revoke_token(request: Request, name: str, _: Admin) -> Response:
    """Revoke a token immediately and close its streams."""
    service = service_of(request)
    if not tokens.may_be_named(name):
        raise tokens.unknown(name)

    def revoke() -> None:
        with service.app.store.write() as connection:
            tokens.revoke(connection, service.app.store.now(), name)

    await service.ask(revoke)
    return Response(status_code=204)


def _workers(service: Service) -> dict[str, Any]:
    with service.app.store.read() as connection:
        paused = workers.is_paused(connection)
    return {"workers": status.workers_view(service.app), "paused": paused}


def _drain(service: Service, caller: Caller, worker_id: str, *, draining: bool) -> dict[str, Any]:
    with service.app.store.write() as connection:
        homes = {str(row["id"]): row["home_id"] for row in workers.all_workers(connection)}
        if worker_id not in homes:
            raise NotFoundError(
                "worker_unknown", f"no worker {worker_id[:40]!r} is running", remedy="/v1/workers lists them"
            )
        workers.set_drain(connection, service.app.store.now(), homes[worker_id], draining, by=caller.name)
    service.app.queue.notify()
    return next(row for row in status.workers_view(service.app) if str(row["id"]) == worker_id)


def _pause(service: Service, caller: Caller, *, paused: bool) -> dict[str, Any]:
    with service.app.store.write() as connection:
        workers.set_paused(connection, service.app.store.now(), paused, by=caller.name)
    service.app.queue.notify()
    return _workers(service)


def _tokens(service: Service) -> list[dict[str, Any]]:
    with service.app.store.read() as connection:
        found = tokens.listing(connection)
    return [
        {"name": token.name, "scope": token.scope, "created_at": status.iso(moment(token.created_at))}
        for token in found
    ]
