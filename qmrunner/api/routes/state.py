"""Routes of the state: the overview, the options of forms, the caller, a worker, and this machine."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from qmrunner.api import state_schemas
from qmrunner.api.access import Caller, needs
from qmrunner.api.errors import Json, errors
from qmrunner.api.routes.jobs import Reader, without
from qmrunner.api.service import Service, service_of
from qmrunner.errors import UsageError
from qmrunner.reports import attention, scratch
from qmrunner.reports import workers as worker_reports
from qmrunner.submission.options import options

_EXAMINED_EVERY_S = 60.0
router = APIRouter(prefix="/v1", tags=["state"], responses=errors(400, 401, 403, 422, 429, 503))
Admin = Annotated[Caller, Depends(needs("admin"))]


@router.get("/me", response_model=state_schemas.Me)
async def me(caller: Reader) -> Json:
    """Return the name and the scope of the token; without tokens the name is null and the scope admin."""
    return Json({"name": caller.name, "scope": caller.scope})


@router.get("/options", response_model=state_schemas.Options)
async def choices(request: Request, _: Reader) -> Json:
    """Return what a form may offer: solvents, levels, conformer searches, engines and limits."""
    service = service_of(request)
    return Json(await service.ask(lambda: options(service.app)))


@router.get("/overview", response_model=state_schemas.Overview)
async def overview(
    request: Request, _: Reader, limit: Annotated[int, Query(ge=1, le=200, description="Number of jobs.")] = 50
) -> Json:
    """Return workers, jobs, queue and disk as `qmrunner status --json`, and what needs a person first."""
    service = service_of(request)
    found = await service.ask(lambda: attention.overview(service.app, limit))
    return Json(without(without(found, "path"), "log"))


@router.get("/workers/{worker_id}", response_model=state_schemas.WorkerDetail, responses=errors(404))
async def worker(request: Request, worker_id: str, _: Reader) -> Json:
    """Return a worker, also an ended one: what runs on it, what it uses, and its last 24 hours."""
    service, number = service_of(request), _worker_number(worker_id)
    return Json(await service.ask(lambda: worker_reports.view(service.app, number)))


@router.get("/workers/{worker_id}/checks", response_model=state_schemas.WorkerChecks, responses=errors(404))
async def worker_checks(request: Request, worker_id: str, _: Admin) -> Json:
    """Return what `qmrunner doctor` last found on the machine of a worker, which examines it daily."""
    service, number = service_of(request), _worker_number(worker_id)
    return Json(await service.ask(lambda: worker_reports.checks(service.app, number)))


def _worker_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise worker_reports.unknown(repr(text[:40]))
    return int(text)


@router.get("/scratch/plan", response_model=state_schemas.ScratchPlan)
async def scratch_plan(
    request: Request,
    _: Reader,
    jobs: Annotated[int, Query(ge=1, le=10_000)] = 1,
    conformers: Annotated[int, Query(ge=1, le=10_000)] = 1,
    atoms: Annotated[int, Query(ge=2, le=1000)] = 40,
    level: Annotated[str, Query(max_length=100)] = "draft",
    slots: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    cores: Annotated[int | None, Query(ge=1, le=10_000)] = None,
) -> Json:
    """Return how much disk, memory and shared memory NMR jobs of this size need, as `qmrunner scratch plan --json`."""
    app = service_of(request).app
    asked = {"jobs": jobs, "conformers": conformers, "atoms": atoms, "level": level, "slots": slots, "cores": cores}
    return Json(await service_of(request).ask(lambda: scratch.plan(app, **asked)))  # type: ignore[arg-type]


@router.get("/scratch/usage", response_model=state_schemas.ScratchUsage, responses=errors(409))
async def scratch_usage(request: Request, _: Reader) -> Json:
    """Return the use of the scratch volume beside this server, as `qmrunner scratch usage --json`."""
    service = service_of(request)
    require_home(service)
    return Json(without(await service.slow(lambda: scratch.usage(service.app)), "path"))


@router.get("/doctor", response_model=state_schemas.Doctor)
async def doctor(request: Request, _: Admin) -> Json:
    """Examine the machine of this server, as `qmrunner doctor --json`; a result is kept for a minute."""
    service = service_of(request)
    return Json(await service.slow(lambda: examined(service)))


@router.get("/sweeps", response_model=state_schemas.Sweeps, responses=errors(409))
async def planned_sweeps(request: Request, _: Admin) -> Json:
    """List what a sweep of the home beside this server would remove, as `qmrunner sweep --dry-run`."""
    service = service_of(request)
    require_home(service)
    return Json(await service.slow(lambda: sweep_home(service, apply=False)))


@router.post("/sweeps", response_model=state_schemas.Sweeps, responses=errors(409))
async def sweep(request: Request, _: Admin) -> Json:
    """Remove what ended attempts left in the home beside this server, as `qmrunner sweep`."""
    service = service_of(request)
    require_home(service)
    return Json(await service.slow(lambda: sweep_home(service, apply=True)))


def require_home(service: Service) -> None:
    """Raise UsageError `no_home_here` where no worker has used the home of this server: its files are elsewhere."""
    if not (service.app.settings.home / "home.id").exists():
        raise UsageError(
            "no_home_here", "no worker runs on the home of this server, so its scratch is on another machine",
            remedy="run the command on the machine of the worker",
        )  # fmt: skip


def examined(service: Service) -> dict[str, Any]:
    """The doctor's report, at most a minute old. One thread at a time runs this."""
    from qmrunner.doctor.checks import examine

    if service.examined is None or time.monotonic() - service.examined[0] > _EXAMINED_EVERY_S:
        checks = [finding.as_dict() for finding in examine(service.app.settings)]
        results = [check["result"] for check in checks]
        summary = {word: results.count(word) for word in ("ok", "warn", "fail")}
        service.examined = (time.monotonic(), {"checks": checks, "summary": summary})
    return service.examined[1]


def sweep_home(service: Service, *, apply: bool) -> dict[str, Any]:
    """What a sweep of the home would do, or has done."""
    from qmrunner import maintenance
    from qmrunner.maintenance.base import Context

    context = Context(service.app, time.time())
    plan = maintenance.plan_all(context)
    done = maintenance.apply_all(context, plan) if apply else [(action, None) for action in plan]
    return {"actions": [{**action.as_dict(), "done": apply, "problem": problem} for action, problem in done]}
