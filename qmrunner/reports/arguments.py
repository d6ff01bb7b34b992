"""The arguments of a task of a Huey application, as text. They may hold secrets: only who may submit jobs sees them."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from qmrunner.app import App
from qmrunner.errors import UsageError
from qmrunner.masking import mask
from qmrunner.model import pickled
from qmrunner.store import jobs as job_store

_MOST_BYTES = 1 << 20
_SHOWN = 50
# Positions in `huey.registry.Message`.
_ARGS, _KWARGS = 6, 7


def view(app: App, job_id: str) -> dict[str, Any]:
    """``{"task", "args": [text], "kwargs": {name: text}}``, cut. Nothing is unpickled.

    Raises NotFoundError `job_unknown`, UsageError `no_arguments`, `arguments_unreadable`.
    """
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
    if job.kind != "huey":
        raise UsageError("no_arguments", f"job {job.id} is no task of an application", remedy="look at its files")
    try:
        message = pickled.read(_plain(base64.b64decode(job.params["message"])))
    except (pickled.Unreadable, zlib.error, ValueError, LookupError) as problem:
        raise _unreadable(str(problem)) from problem
    fields = message.items if isinstance(message, pickled.Thing) else []
    if len(fields) <= _KWARGS or not isinstance(fields[_ARGS], pickled.Box):
        raise _unreadable("it is no message of Huey's own serializer")
    args, kwargs = fields[_ARGS].items, pickled.pairs_of(fields[_KWARGS])
    return {
        "task": job.params["task"],
        "args": [mask(pickled.written(value)) for value in args[:_SHOWN]],
        "kwargs": {name[:200]: _masked(name[:200], text) for name, text in list(kwargs.items())[:_SHOWN]},
        "more": max(0, len(args) - _SHOWN) + max(0, len(kwargs) - _SHOWN),
    }


def _masked(name: str, text: str) -> str:
    """The value without passwords: one called `password` is one."""
    return mask(f"{name}={text}").removeprefix(f"{name}=")


def _plain(data: bytes) -> bytes:
    """The message without compression. A signature at its end does not matter: a pickle ends before."""
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has {len(data)} bytes")
    if data[:1] not in (b"\x1f", b"\x78"):
        return data
    packed = zlib.decompressobj(47)  # zlib or gzip
    found = packed.decompress(data, _MOST_BYTES)
    if packed.unconsumed_tail:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    return found


def _unreadable(evidence: str) -> UsageError:
    return UsageError(
        "arguments_unreadable", "the arguments of this task cannot be shown", evidence=evidence[:200],
        remedy="the application has its own serializer, or the message is large: look at it there",
    )  # fmt: skip
