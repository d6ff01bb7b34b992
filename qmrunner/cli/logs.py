"""`qmrunner logs`: the raw output of a job's steps."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmrunner import untrusted
from qmrunner.cli.common import (
    JobId,
    job_named,
    open_app,
    report,
    say,
)
from qmrunner.model import visible

if TYPE_CHECKING:
    from qmrunner.app import App

_FOLLOW_EVERY_S = 0.2
_CHUNK_BYTES = 1 << 16


def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job ends.")] = False,
    step: Annotated[str | None, typer.Option("--step", help="Print only the log of this step.")] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="NAME", help="Print a file to which a Huey task's programs wrote their output."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the bytes exactly as the engine wrote them; ignored on a terminal.")
    ] = False,
) -> None:
    """Print the output of the engines. Control characters are escaped, for example as \\x1b."""
    if raw and sys.stdout.isatty():
        say(
            "control characters are escaped on a terminal; redirect the output to a file or a pipe for the exact bytes",
            err=True,
        )
        raw = False
    if file is None and not follow:
        for path in map(Path, report("logs", job, step)):
            _copy_out(path, 0, raw=raw, last=True)
        sys.stdout.buffer.flush()
        return
    from qmrunner.reports import status as reports_status

    app = open_app()
    job = job_named(app, job)
    shown: dict[Path, int] = {}
    while True:
        over = not follow or reports_status.job_view(app, job)["job"]["state"] in (
            "succeeded",
            "failed",
            "cancelled",
            "held",
        )
        for path in _shown_logs(app, job, step, file, wait=not over):
            shown[path] = _copy_out(path, shown.get(path, 0), raw=raw, last=over)
        sys.stdout.buffer.flush()
        if over:
            return
        time.sleep(_FOLLOW_EVERY_S)


def _shown_logs(app: App, job: str, step: str | None, file: str | None, *, wait: bool) -> list[Path]:
    """The files to print. Raises NotFoundError, but not for a redirected file that may still come with `wait`."""
    from qmrunner.errors import NotFoundError
    from qmrunner.reports import log_files

    if file is None:
        return log_files.log_files(app, job, step)
    try:
        return log_files.redirected_files(app, job, step, file)
    except NotFoundError as unknown:
        if wait and unknown.code == "file_unknown":
            return []
        raise


def _copy_out(path: Path, offset: int, *, raw: bool, last: bool) -> int:
    """Print the log from `offset` on and return its new end. An incomplete character is printed later, unless this
    is the `last` call."""
    try:
        with untrusted.open_file(path) as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK_BYTES):
                if not raw:
                    chunk = chunk[: visible.whole(chunk)] or (chunk if last else b"")
                    if not chunk:
                        break
                    file.seek(offset + len(chunk))
                sys.stdout.buffer.write(chunk if raw else visible.log(chunk))
                offset += len(chunk)
    except (FileNotFoundError, untrusted.Refused):
        pass  # claimed but not started; if another thing is in its place, the step's outcome reports it
    return offset
