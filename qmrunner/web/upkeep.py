"""The pages of this server's machine: what the doctor finds, what a sweep would remove, what disks jobs need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from qmrunner.api.access import SMALL_BODY, Caller, page_needs
from qmrunner.api.routes.state import examined, require_home, sweep_home
from qmrunner.api.service import service_of
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.reports import scratch
from qmrunner.reports.workers import worst_first
from qmrunner.web import render
from qmrunner.web.look import Ask, Page
from qmrunner.workflows.levels import LEVELS

_MOST_ACTIONS = 200
# Fields of the planner: name, what it asks, value at first, least, most.
_FIELDS = (
    ("jobs", "jobs at a time", 4, 1, 10_000), ("conformers", "conformers of each", 20, 1, 10_000),
    ("atoms", "atoms of each", 40, 2, 1000),
)  # fmt: skip
ROUTER = APIRouter(include_in_schema=False)
_ADMIN = page_needs("admin", SMALL_BODY)


async def _examine(request: Request, _: Ask) -> dict[str, Any]:
    service = service_of(request)
    return await service.slow(lambda: examined(service))


async def _planned(request: Request, _: Ask) -> dict[str, Any]:
    return await _swept(request, apply=False)


async def _used(request: Request, _: Ask) -> dict[str, Any]:
    service = service_of(request)
    try:
        require_home(service)
    except UsageError as problem:
        return {"missing": problem.as_dict()}
    return await service.slow(lambda: scratch.usage(service.app))


def doctor(ask: Ask) -> dict[str, Any]:
    """What is wrong with this machine first."""
    return {"nav": "system", "checks": worst_first(ask.given["checks"]), "summary": ask.given["summary"]}


def sweeps(ask: Ask) -> dict[str, Any]:
    """What a sweep would do."""
    return _sweep_facts(ask.given)


@ROUTER.post("/system/sweeps", response_class=Response)
async def sweep(request: Request, _: Annotated[Caller, Depends(_ADMIN)]) -> Response:
    """Sweep the home beside this server, and show what was done."""
    return render.page(request, "sweeps.html", _sweep_facts(await _swept(request, apply=True), done=True))


def plan(ask: Ask) -> dict[str, Any]:
    """The planner with its answer, and the use of the scratch volume."""
    words = {name: ask.word(name, str(value)) for name, _, value, _, _ in _FIELDS} | {
        "level": ask.word("level", "draft")
    }
    found = problem = None
    try:
        numbers = {name: _number(words[name], label, least, most) for name, label, _, least, most in _FIELDS}
        found = scratch.plan(
            ask.app, jobs=numbers["jobs"], conformers=numbers["conformers"], atoms=numbers["atoms"],
            level=words["level"], slots=None, cores=None,
        )  # fmt: skip
    except QmrunnerError as error:
        problem = error.as_dict()
    return {
        "nav": "system", "fields": _FIELDS, "words": words, "plan": found, "form_problem": problem, "usage": ask.given,
        "levels": [level.key for level in LEVELS],
    }  # fmt: skip


def _number(text: str, label: str, least: int, most: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
    if not least <= value <= most:
        raise UsageError(
            "bad_field", f"{label}: a whole number from {least} to {most}", evidence=text[:40], remedy="write digits"
        )
    return value


async def _swept(request: Request, *, apply: bool) -> dict[str, Any]:
    service = service_of(request)
    try:
        require_home(service)
        return {**await service.slow(lambda: sweep_home(service, apply=apply)), "missing": None}
    except UsageError as problem:
        return {"actions": [], "missing": problem.as_dict()}


def _sweep_facts(found: dict[str, Any], *, done: bool = False) -> dict[str, Any]:
    actions = found["actions"]
    return {
        "nav": "system", "actions": actions[:_MOST_ACTIONS], "count": len(actions), "missing": found["missing"],
        "done": done,
    }  # fmt: skip


PAGES: Sequence[Page] = (
    Page("/system/doctor", "doctor.html", doctor, scope="admin", live=False, prepare=_examine),
    Page("/system/sweeps", "sweeps.html", sweeps, scope="admin", live=False, prepare=_planned),
    Page("/system/scratch", "scratch.html", plan, live=False, prepare=_used),
)
