"""Many submissions in one request: one JSON job on each line, and one answer for each, in the same order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request

from qmrunner.api.access import Caller
from qmrunner.api.service import Service
from qmrunner.api.upload import bodies, nesting
from qmrunner.api.upload.request import checked_key, folder_of, stored_key, terms
from qmrunner.api.upload.sandbox import Children
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.submission.check import verdict
from qmrunner.submission.submit import submit

MOST_LINES = 500
LONGEST_LINE = 1 << 18
_MOST_BYTES = 16 << 20
_WAIT_S = 60.0


async def received(service: Service, request: Request, held: AsyncExitStack) -> list[bytes]:
    """The lines of a body; the upload's place is held until `held` ends. Raises UsageError `too_many_lines`,
    `body_too_large`."""
    settings = service.app.settings
    await held.enter_async_context(service.uploads.place(_WAIT_S))
    most = min(_MOST_BYTES, settings.api_max_body_mib << 20)
    async with folder_of(settings.run_root) as folder:
        await bodies.to_file(request.receive, most, folder / "body")
        data = await to_thread.run_sync((folder / "body").read_bytes)
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > MOST_LINES:
        raise UsageError(
            "too_many_lines", f"the body has {len(lines)} jobs, {MOST_LINES} are allowed",
            remedy="send the others in another request",
        )  # fmt: skip
    return lines


async def answers(
    service: Service, children: Children, caller: Caller, lines: list[bytes], *, group: str | None, dry_run: bool
) -> AsyncIterator[bytes]:
    """One line of JSON for each line of the body: ``{"line", "id", "new"}``, ``{"line", "verdict"}`` with `dry_run`, or
    ``{"line", "error"}``. A job that was answered with its id is stored, whatever happens to the rest."""
    for number, line in enumerate(lines, start=1):
        try:
            found = await _one(service, children, caller, line, group, dry_run)
        except QmrunnerError as problem:
            found = {"error": problem.as_dict()}
        yield (
            json.dumps({"line": number, **found}, allow_nan=False, separators=(",", ":"), default=str).encode() + b"\n"
        )


async def _one(
    service: Service, children: Children, caller: Caller, line: bytes, group: str | None, dry_run: bool
) -> dict[str, Any]:
    key, body = _split(line, group)
    app = service.app
    async with folder_of(app.settings.run_root) as folder:
        await to_thread.run_sync(lambda: Path(folder / "body").write_bytes(body))
        asked = await terms(service, folder)
        checked = await children.check(folder, content_type="application/json", facts=dry_run, **asked)
        made = replace(checked.made, owner=caller.name)
        if dry_run:
            facts = {**checked.facts, "drawing": None}
            return {"verdict": await service.ask(lambda: verdict(app, made, facts))}
        if key is not None:
            made = replace(made, key=stored_key(key, caller), request_digest=checked.digest)
        accepted = await service.ask(lambda: submit(app, made))
    return {"id": accepted.job_id, "new": accepted.new}


def _split(line: bytes, group: str | None) -> tuple[str | None, bytes]:
    """The key of a line, and its job with the group of the request."""
    if len(line) > LONGEST_LINE:
        raise UsageError(
            "body_too_large", f"the line has more than {LONGEST_LINE >> 10} KiB", remedy="send it with POST /v1/jobs"
        )
    nesting.check(line)
    try:
        job = json.loads(line)
    except ValueError as problem:
        raise _not_a_job(str(problem)) from None
    if not isinstance(job, dict):
        raise _not_a_job(f"it is a {type(job).__name__}")
    key = job.pop("key", None)
    if key is not None:
        checked_key(key if isinstance(key, str) else "")
    if group is not None:
        job.setdefault("group", group)
    return key, json.dumps(job).encode()


def _not_a_job(evidence: str) -> UsageError:
    return UsageError(
        "invalid_request", "the line is not the JSON of a job", evidence=evidence[:200],
        remedy='as in {"kind": "nmr", "smiles": "CCO", "key": "batch7-1"}',
    )  # fmt: skip
