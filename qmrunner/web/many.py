"""The page of many molecules: the verdict on each line of a list, and the submission of the good ones as one group."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import RedirectResponse

from qmrunner.api.access import Caller, page_needs
from qmrunner.api.errors import status_of
from qmrunner.api.service import service_of
from qmrunner.api.upload import lines
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.submission import many
from qmrunner.web import render
from qmrunner.web.links import jobs_where
from qmrunner.web.new_form import MOLECULES
from qmrunner.web.new_job import read_form
from qmrunner.workflows.levels import LEVELS
from qmrunner.workflows.solvents import SOLVENTS

ROUTER = APIRouter(include_in_schema=False)
_WRITE = page_needs("write")
_SENDER = page_needs("write", None)
_CHOICES = ("solvent", "level", "conformers")
_WAIT_S = 60.0


@ROUTER.get("/jobs/new/many", response_class=Response)
async def form(request: Request, _: Annotated[Caller, Depends(_WRITE)]) -> Response:
    """The empty form."""
    return _page(request, {})


@ROUTER.post("/jobs/new/many", response_class=Response)
async def send(request: Request, caller: Annotated[Caller, Depends(_SENDER)]) -> Response:
    """The verdict on each line, or the submission of all lines that are not refused."""
    service = service_of(request)
    words: dict[str, str] = {}
    try:
        words, files = await read_form(request)
        text, name = files[0][::-1] if files else (words.get("structures", ""), _named(words.get("structures", "")))
        words |= {"structures": text, "group": words.get("group", "").strip() or _group(files)}
        found = await service.ask(lambda: many.read(text, name))
        if len(found.found) > lines.MOST_LINES:
            raise UsageError(
                "too_many_lines", f"{len(found.found)} molecules, {lines.MOST_LINES} are allowed at a time",
                remedy="split the list, or use `qmrunner submit many FILE`",
            )  # fmt: skip
        jobs = await service.ask(lambda: [_job(entry, words) for entry in found.found])
        good = [json.dumps(job).encode() for job in jobs if isinstance(job, dict)]
        check = words.get("do") != "submit"
        await request.state.held.enter_async_context(service.uploads.place(_WAIT_S))
        children = request.app.state.children
        asked = lines.answers(service, children, caller, good, group=words["group"], dry_run=check)
        answers = [json.loads(line) async for line in asked]
    except QmrunnerError as problem:
        return _page(request, words, problem=problem.as_dict(), status=status_of(problem))
    rows = _rows(found.found, jobs, answers)
    if not check:
        request.app.state.hub.wake()
        if not any(row["error"] for row in rows):
            where = jobs_where(words["group"], "group") or "/jobs"
            return RedirectResponse(where, 303, render.headers(https=render.is_https(request)))
    return _page(request, words, rows=rows, ignored=found.ignored, done=not check)


def _page(
    request: Request,
    words: Mapping[str, str],
    *,
    rows: Sequence[Mapping[str, Any]] = (),
    ignored: Sequence[str] = (),
    problem: Mapping[str, Any] | None = None,
    done: bool = False,
    status: int = 200,
) -> Response:
    good = [row for row in rows if not row["error"]]
    values = {
        "nav": "new", "words": words, "rows": rows, "ignored": ignored, "form_problem": problem, "done": done,
        "good": len(good), "hours": sum(row["core_hours"] or 0.0 for row in good),
        "unknown": sum(row["core_hours"] is None for row in good),
        "most": lines.MOST_LINES,
        "solvents": [(solvent.key, solvent.label) for solvent in SOLVENTS],
        "levels": [(level.key, level.about) for level in LEVELS],
    }  # fmt: skip
    return render.page(request, "many.html", values, status=status)


def _named(text: str) -> str:
    """A file name whose ending gives the format of a pasted text."""
    if "$$$$" in text or "M  END" in text:
        return "pasted.sdf"
    head = text.lstrip().split("\n", 1)[0].lower()
    for separator, name in ((",", "pasted.csv"), ("\t", "pasted.tsv")):
        if "smiles" in [cell.strip().strip('"') for cell in head.split(separator)]:
            return name
    return "pasted.smi"


def _group(files: Sequence[tuple[str, str]]) -> str:
    return PurePath(files[0][0]).stem[:100] if files else f"batch-{uuid.uuid4().hex[:6]}"


def _job(entry: many.Entry, words: Mapping[str, str]) -> dict[str, Any] | UsageError:
    """The JSON of a line's job, or what is wrong with the line. Its key is the job itself: a line that is sent again
    in the same group finds its job."""
    if entry.problem is not None:
        return entry.problem
    kind = words.get("kind") if words.get("kind") in MOLECULES else "nmr"
    job: dict[str, Any] = {"kind": kind}
    job |= {name: words[name] for name in _CHOICES if words.get(name) and (name != "level" or kind == "nmr")}
    job |= {name: value for name, value in entry.options.items() if name != "level" or kind == "nmr"}
    if entry.name:
        job["name"] = entry.name[:200]
    if entry.block is None:
        job["smiles"] = entry.smiles or ""
    else:
        job["files"] = [{"name": f"molecule-{entry.number}.sdf", "text": entry.block}]
    whole = json.dumps([words["group"], job], sort_keys=True)
    return {**job, "key": f"many-{hashlib.sha256(whole.encode()).hexdigest()}"}


def _rows(
    entries: Sequence[many.Entry], jobs: Sequence[dict[str, Any] | UsageError], answers: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row of the table for each line, from the answers to those that were sent."""
    left = iter(answers)
    rows = []
    for entry, job in zip(entries, jobs, strict=True):
        answer: dict[str, Any] = next(left) if isinstance(job, dict) else {"error": job.as_dict()}
        verdict = answer.get("verdict") or {}
        rows.append(
            {
                "line": entry.number, "name": entry.name, "smiles": verdict.get("smiles") or entry.smiles,
                "formula": verdict.get("formula"), "atoms": verdict.get("atoms"), "steps": verdict.get("steps"),
                "core_hours": verdict.get("core_hours"), "warnings": verdict.get("warnings") or [],
                "unmet": verdict["workers"]["unmet"] if verdict else None,
                "before": verdict.get("computed_before") or [],
                "error": answer.get("error"), "id": answer.get("id"), "new": answer.get("new"),
            }
        )  # fmt: skip
    return rows
