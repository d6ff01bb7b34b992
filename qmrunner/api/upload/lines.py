"""Many submissions in one request: one JSON job on each line, and one answer for each, in the same order."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread
from starlette.requests import Request

from qmrunner.api.access import Caller
from qmrunner.api.service import Service
from qmrunner.api.upload import bodies, nesting
from qmrunner.api.upload.request import checked_key, folder_of, stored_key, terms
from qmrunner.api.upload.sandbox import Children
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.model.jobs import Submission
from qmrunner.submission.check import verdict
from qmrunner.submission.submit import submit

MOST_LINES = 500
LONGEST_LINE = 1 << 18
_MOST_BYTES = 16 << 20
_WAIT_S = 60.0
_AT_ONCE = 2  # checks of one request: the share of a client


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
) -> AsyncGenerator[bytes]:
    """One line of JSON for each line of the body: ``{"line", "id", "new"}``, ``{"line", "verdict"}`` with `dry_run`, or
    ``{"line", "error"}``. A job that was answered with its id is stored, whatever happens to the rest.

    While a line is answered, the next ones are checked; jobs are stored one after the other, in order.
    """
    checks: deque[asyncio.Task[_Line]] = deque()
    left = iter(lines)
    try:
        for number in range(1, len(lines) + 1):
            while len(checks) < _AT_ONCE and (line := next(left, None)) is not None:
                checks.append(asyncio.create_task(_checked(service, children, caller, line, group, dry_run)))
            try:
                found = await _answer(service, await checks.popleft(), dry_run)
            except QmrunnerError as problem:
                found = {"error": problem.as_dict()}
            written = json.dumps({"line": number, **found}, allow_nan=False, separators=(",", ":"), default=str)
            yield written.encode() + b"\n"
    finally:
        for task in checks:
            task.cancel()
        await asyncio.gather(*checks, return_exceptions=True)


class _Line(NamedTuple):
    """A checked line: its job, and the facts for a verdict."""

    made: Submission
    facts: dict[str, Any]


async def _checked(
    service: Service, children: Children, caller: Caller, line: bytes, group: str | None, dry_run: bool
) -> _Line:
    key, body = _split(line, group)
    async with folder_of(service.app.settings.run_root) as folder:
        await to_thread.run_sync(lambda: Path(folder / "body").write_bytes(body))
        asked = await terms(service, folder)
        checked = await children.check(folder, content_type="application/json", facts=dry_run, **asked)
    made = replace(checked.made, owner=caller.name)
    if key is not None:
        made = replace(made, key=stored_key(key, caller), request_digest=checked.digest)
    return _Line(made, {**checked.facts, "drawing": None})


async def _answer(service: Service, line: _Line, dry_run: bool) -> dict[str, Any]:
    app = service.app
    if dry_run:
        return {"verdict": await service.ask(lambda: verdict(app, line.made, line.facts))}
    accepted = await service.ask(lambda: submit(app, line.made))
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
