"""From a request to a stored job: JSON or multipart, names made safe, checked, and handed in once for each key."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from qmrunner.api.access import Caller
from qmrunner.api.answers import invalid
from qmrunner.api.children import Children
from qmrunner.api.forms import FORM, ConformersForm, Form, NmrForm
from qmrunner.api.names import upload_name
from qmrunner.api.service import Service
from qmrunner.errors import UsageError

_MOST_FILES = 100
_LONGEST_KEY = 100


async def hand_in(service: Service, children: Children, request: Request, caller: Caller) -> tuple[str, bool]:
    """The job's id, and whether it is new. Raises QmrunnerError; nothing is stored then."""
    key = _key(request, caller)
    form, uploads = await _read(request)
    files = {**uploads, **_named((one.name, one.text.encode()) for one in form.files)}
    if len(files) != len(uploads) + len(form.files):
        raise _twice("sent both as a part and in `files`")
    fields = form.model_dump(exclude={"files"}, exclude_defaults=True)
    app = service.app
    cap = app.settings.max_atoms
    if cap is not None and isinstance(form, NmrForm | ConformersForm):
        fields["max_atoms"] = min(form.max_atoms, cap)  # who asks from elsewhere cannot lift the operator's limit
    with tempfile.TemporaryDirectory(prefix="qmrunner-upload-") as folder:
        paths = await service.ask(lambda: _write(Path(folder), files))
        crest = fields.get("conformers", "auto") == "auto" and app.located("crest")
        made = await to_thread.run_sync(lambda: children.check(fields, paths, crest))
    made = replace(made, owner=caller.name)
    if key is not None:
        made = replace(made, key=key, request_digest=_digest(fields, files))

    def store() -> tuple[str, bool]:
        app.require_engines(made)
        return app.hand_in(made)

    return await service.ask(store)


def _key(request: Request, caller: Caller) -> str | None:
    """The idempotency key as the store has it: each token has keys of its own."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not given or len(given) > _LONGEST_KEY or not (given.isascii() and given.isprintable()):
        raise UsageError(
            "bad_header", f"an Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters",
            remedy="a UUID is a good one",
        )  # fmt: skip
    return given if caller.name is None else f"{caller.name}/{given}"


async def _read(request: Request) -> tuple[Form, dict[str, bytes]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _form(await request.body()), {}
    if kind == "multipart/form-data":
        return await _read_multipart(request)
    raise UsageError(
        "unsupported_media_type",
        f"the body is {kind[:100] or 'of no type'}, and neither JSON nor multipart",
        remedy="send application/json, or multipart/form-data with a part `job` (JSON) and parts `file`",
    )


async def _read_multipart(request: Request) -> tuple[Form, dict[str, bytes]]:
    try:
        async with request.form(max_files=_MOST_FILES, max_fields=2) as parts:
            job = parts.get("job")
            text = (await job.read()) if isinstance(job, UploadFile) else (job or "").encode()
            unknown = sorted(set(parts) - {"job", "file"})
            files = list(parts.getlist("file"))
            if job is None or unknown or not all(isinstance(one, UploadFile) for one in files):
                raise UsageError(
                    "invalid_request",
                    "a multipart request has one part `job` with the JSON of the job, and a part `file` for each file",
                    evidence=f"unknown part {unknown[0][:100]!r}" if unknown else None,
                    remedy='as in curl -F \'job={"kind": "xtb"}\' -F file=@water.xyz',
                )
            named = [(one.filename or "", await one.read()) for one in files if isinstance(one, UploadFile)]
    except HTTPException as problem:
        raise UsageError(
            "bad_request", "the multipart body cannot be read", evidence=str(problem.detail),
            remedy="send it with a client's own multipart encoder, as curl -F does",
        ) from None  # fmt: skip
    return _form(text), _named(named)


def _form(text: bytes) -> Form:
    try:
        return FORM.validate_json(text)
    except ValidationError as problem:
        raise invalid(problem.errors(include_url=False, include_input=False)) from None


def _named(files: Any) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for given, data in files:
        name = upload_name(given)
        if name in found:
            raise _twice(name)
        found[name] = data
    return found


def _twice(evidence: str) -> UsageError:
    return UsageError(
        "duplicate_file", "two files have the same name", evidence=evidence,
        remedy="all files of a job go into one folder: rename one",
    )  # fmt: skip


def _write(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in files]


def _digest(fields: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """Of everything that decides the job. Fields at their default do not count, so that new ones may come."""
    hashes = [[name, hashlib.sha256(data).hexdigest()] for name, data in files.items()]
    return hashlib.sha256(json.dumps([fields, hashes], sort_keys=True).encode()).hexdigest()
