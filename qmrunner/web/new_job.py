"""The page of a new job: the verdict on each change, and the submission. Both go the way of the API."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from markupsafe import Markup
from starlette.datastructures import Headers, UploadFile
from starlette.responses import RedirectResponse
from starlette.types import Message

from qmrunner.api.access import SMALL_BODY, Caller, page_needs
from qmrunner.api.errors import status_of
from qmrunner.api.files import published_file
from qmrunner.api.service import Service, service_of
from qmrunner.api.upload import bodies
from qmrunner.api.upload.request import inspect, receive
from qmrunner.chemistry import svg
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.store import jobs as job_store
from qmrunner.submission.molecule import MAX_ATOMS
from qmrunner.submission.request import MAX_LOST_WEIGHT
from qmrunner.web import render
from qmrunner.web.new_form import KINDS, job_of, words_of
from qmrunner.workflows.levels import LEVELS
from qmrunner.workflows.solvents import SOLVENTS

ROUTER = APIRouter(include_in_schema=False)
_WRITE = page_needs("write")
_SENDER = page_needs("write", None)
# The page takes less than the API: it reads the form in this process.
_MOST = 8 << 20
_MOST_FILES, _MOST_FIELDS = 50, 60
_LONGEST_DECK = 1 << 20


@ROUTER.get("/jobs/new", response_class=Response)
async def form(
    request: Request,
    _: Annotated[Caller, Depends(_WRITE)],
    kind: Annotated[str, Query(max_length=20)] = "nmr",
    like: Annotated[str, Query(alias="from", max_length=64)] = "",
) -> Response:
    """The empty form, or one that is filled like an earlier job."""
    words: dict[str, str] = {}
    note = None
    if like:
        kind, words, note = await _like(service_of(request), job_store.checked_id(like))
    return _page(request, kind if kind in KINDS else "nmr", words, note=note)


@ROUTER.post("/jobs/new", response_class=Response)
async def send(request: Request, caller: Annotated[Caller, Depends(_SENDER)]) -> Response:
    """The verdict on the form, or the submission of its job."""
    service = service_of(request)
    words: dict[str, str] = {}
    try:
        words, files = await read_form(request)
        body = await service.ask(lambda: json.dumps(job_of(words.get("kind", ""), words, files)).encode())
        if words.get("do") == "check":
            verdict = await inspect(service, request.app.state.children, _as_api(request, body, None), caller)
            return _page(request, words["kind"], words, verdict=_shown(verdict), files=len(files))
        key = words.get("key") or None
        accepted = await receive(service, request.app.state.children, _as_api(request, body, key), caller)
    except QmrunnerError as problem:
        if problem.code == "key_in_use":
            words = {**words, "key": ""}  # the form was changed since: it is another job
        kind = words.get("kind", "nmr")
        shown = kind if kind in KINDS else "nmr"
        return _page(request, shown, words, problem=problem.as_dict(), status=status_of(problem))
    request.app.state.hub.wake()
    return RedirectResponse(f"/jobs/{accepted.job_id}", 303, render.headers(https=render.is_https(request)))


def _page(
    request: Request,
    kind: str,
    words: Mapping[str, str],
    *,
    verdict: Mapping[str, Any] | None = None,
    problem: Mapping[str, Any] | None = None,
    note: str | None = None,
    files: int = 0,
    status: int = 200,
) -> Response:
    values = {
        "nav": "new", "kind": kind, "kinds": KINDS, "words": words, "verdict": verdict, "problem": None,
        "form_problem": problem, "note": note, "files": files, "key": words.get("key") or str(uuid.uuid4()),
        "solvents": [(solvent.key, solvent.label) for solvent in SOLVENTS],
        "levels": [(level.key, level.about) for level in LEVELS],
        "lost": MAX_LOST_WEIGHT, "most_atoms": MAX_ATOMS if kind == "nmr" else 2 * MAX_ATOMS,
    }  # fmt: skip
    made = render.page(request, "new.html", values, status=status)
    # The browser's Back shows the same form with the same key: sent again, it finds the job that it has made.
    made.headers["cache-control"] = "private, no-cache"
    return made


async def read_form(request: Request) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Texts and files of the form, parsed in a thread. Raises UsageError `body_too_large`, `body_too_slow`,
    `not_text`."""
    multipart = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    # The pages send the other encoding never; parsing it takes a second for each MiB.
    body = await bodies.whole(request.receive, _MOST if multipart else SMALL_BODY)
    again = Request(request.scope, bodies.replayed(body, request.receive))
    return await service_of(request).ask(lambda: asyncio.run(_parsed(again)))


async def _parsed(request: Request) -> tuple[dict[str, str], list[tuple[str, str]]]:
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_MOST) as found:
        words = {name: value for name, value in found.multi_items() if isinstance(value, str)}
        files = []
        for _, value in found.multi_items():
            if isinstance(value, UploadFile) and value.filename:
                files.append((value.filename, _text(value.filename, await value.read())))
    return words, files


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UsageError(
            "not_text", f"the file {name[:80]!r} is not text", evidence=str(problem)[:200],
            remedy="save it as UTF-8; files that are not text can be sent to POST /v1/jobs",
        ) from None  # fmt: skip


def _as_api(request: Request, body: bytes, key: str | None) -> Request:
    """The same request as a program would send it to the API."""
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    if key is not None:
        headers["idempotency-key"] = key
    sent = False

    async def once() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({**request.scope, "headers": Headers(headers).raw}, once)


def _shown(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict with its drawing made fit for a page."""
    drawing = svg.inline(verdict["drawing"]) if verdict["drawing"] else None
    return {**verdict, "drawing": None if drawing is None else Markup(drawing)}


async def _like(service: Service, job_id: str) -> tuple[str, dict[str, str], str | None]:
    """Kind and texts of an earlier job, with its first input file as text; and what had to be left out."""

    def look() -> tuple[str, dict[str, str], str | None]:
        with service.app.store.read() as connection:
            job = job_store.get(connection, job_id)
        row = {"name": job.name, "group": job.group, "priority": job.priority, "requires": job.requires}
        words = words_of(row, job.params)
        names = list(job.params.get("files") or [])
        name = job.params.get("deck") or (names[0] if names else None)
        note = None
        if name and "structure" not in words:
            opened = published_file(service.app, job_id, f"input/{name}")
            with opened.file as file:
                data = file.read(_LONGEST_DECK + 1)
            if len(data) > _LONGEST_DECK:
                note = f"{name} is too large for this form: choose it again"
            else:
                words |= {"structure": data.decode(errors="replace"), "deck_name": name}
        if len(names) > 1:
            others = ", ".join(other for other in names if other != name)
            note = f"choose the other files of that job again: {others}"
        return job.kind, words, note

    return await service.ask(look)
