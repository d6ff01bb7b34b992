"""From a request to a stored job: receive the body into a file, check it in a child, submit it once per key."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import CancelScope, to_thread
from starlette.requests import Request

from qmrunner.api.access import Caller
from qmrunner.api.service import Service
from qmrunner.api.upload import bodies
from qmrunner.api.upload.sandbox import Checked, Children
from qmrunner.confinement import interpreter, policy
from qmrunner.errors import UsageError
from qmrunner.submission.check import verdict
from qmrunner.submission.submit import Accepted, submit

_LONGEST_KEY = 100
_LONGEST_WAIT_S = 60.0
_PREFIX = "upload-"
_LEFT_BEHIND_S = 3600.0  # no upload and its checks take so long


async def receive(service: Service, children: Children, request: Request, caller: Caller) -> Accepted:
    """Receive, check and store the job of a request. Raises QmrunnerError; nothing is stored then."""
    key = _key(request, caller)
    app = service.app
    async with _read(service, children, request, facts=False) as checked:
        made = replace(checked.made, owner=caller.name)
        if key is not None:
            made = replace(made, key=key, request_digest=checked.digest)
        return await service.ask(lambda: submit(app, made))


async def inspect(service: Service, children: Children, request: Request, caller: Caller) -> dict[str, Any]:
    """Receive and check the job of a request, and report what it would cost. Stores nothing. Raises as `receive`."""
    async with _read(service, children, request, facts=True) as checked:
        made = replace(checked.made, owner=caller.name)
        return await service.ask(lambda: verdict(service.app, made, checked.facts))


@asynccontextmanager
async def _read(service: Service, children: Children, request: Request, *, facts: bool) -> AsyncIterator[Checked]:
    settings = service.app.settings
    async with service.uploads.place(_LONGEST_WAIT_S), folder_of(settings.run_root) as folder:
        await bodies.to_file(request.receive, settings.api_max_body_mib << 20, folder / "body")
        yield await children.check(
            folder,
            content_type=request.headers.get("content-type", ""),
            facts=facts,
            **await terms(service, folder),
        )


async def terms(service: Service, folder: Path) -> dict[str, Any]:
    """What the process that checks the body in `folder` needs to know of this machine."""
    settings = service.app.settings
    return {
        "max_atoms": settings.max_atoms,
        "crest_installed": await service.ask(lambda: service.app.located("crest")),
        # Without kernel confinement the check of the input text is the only protection.
        "strict": not policy.holds(settings),
        "confinement": policy.order(interpreter.reach(), folder, settings),
    }


def sweep(root: Path) -> None:
    """Remove leftovers of killed servers below `root`."""
    for folder in root.glob(f"{_PREFIX}*"):
        try:
            if time.time() - folder.lstat().st_mtime > _LEFT_BEHIND_S:
                shutil.rmtree(folder)
        except OSError:
            continue  # another server of this home was faster, or the folder is not an upload


@asynccontextmanager
async def folder_of(root: Path) -> AsyncIterator[Path]:
    """A private folder for this request, in the home: /tmp is memory in a container."""

    def make() -> Path:
        os.makedirs(root, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))

    try:
        made = await to_thread.run_sync(make)
    except OSError as problem:
        raise bodies.no_room(problem.strerror) from None
    try:
        yield made
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))


def _key(request: Request, caller: Caller) -> str | None:
    """The idempotency key as stored."""
    given = request.headers.get("idempotency-key")
    return None if given is None else stored_key(checked_key(given), caller)


def checked_key(given: str) -> str:
    """The same key. Raises UsageError `bad_header`."""
    if not given or len(given) > _LONGEST_KEY or not (given.isascii() and given.isprintable()):
        raise UsageError(
            "bad_header", f"an Idempotency-Key must have 1 to {_LONGEST_KEY} printable ASCII characters",
            remedy="use a UUID, for example",
        )  # fmt: skip
    return given


def stored_key(key: str, caller: Caller) -> str:
    """A key as stored: every token has its own keys. The user of a Unix socket has those of the command line."""
    return key if caller.name is None or caller.local else f"{caller.name}/{key}"
