"""serve."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer

from qmrunner.cli.common import LONG_RUNNING

# A request is answered or gets status 503; it does not wait for a lock as long as a daemon would.
_BUSY_S = 5.0


def register(cli: typer.Typer) -> None:
    cli.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default QMRUNNER_API_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port; default QMRUNNER_API_PORT.", min=0, max=65535)
    ] = None,
    unix: Annotated[
        Path | None,
        typer.Option(
            "--socket",
            metavar="PATH",
            help="Listen on this new Unix socket instead, only for your user, who needs no token.",
        ),
    ] = None,
    stop_at_eof: Annotated[
        bool, typer.Option("--stop-at-eof", help="Also end when stdin ends: for the program that starts the server.")
    ] = False,
) -> None:
    """Run pages and HTTP API of this store in the foreground: pages at /, routes at /v1, their description at /docs.

    Ends on SIGTERM. A Unix socket has the routes only, and its jobs belong to your user, as those of `submit`."""
    from qmrunner import app, logs
    from qmrunner.cli.common import login_name
    from qmrunner.errors import NotReadyError, UsageError

    if unix is not None and (host, port) != (None, None):
        raise UsageError("usage", "--socket excludes --host and --port", remedy="omit one of them")
    try:
        from qmrunner.api import server
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("qmrunner"):
            raise
        raise NotReadyError(
            "api_missing",
            "the HTTP API is not installed",
            evidence=str(missing),
            remedy="install the optional packages: `pip install 'qmrunner[api]'`",
        ) from None
    built = app.build(busy_seconds=_BUSY_S)
    settings = built.settings
    finish = logs.to_stdout(settings.log_level, worker=settings.worker_name)
    gc.set_threshold(*LONG_RUNNING)
    try:
        if unix is not None:
            server.serve_socket(built, unix, login_name(), stop_at_eof=stop_at_eof)
        else:
            from qmrunner.web import site

            number = settings.api_port if port is None else port
            server.serve(built, host or settings.api_host, number, site.pages(), stop_at_eof=stop_at_eof)
    finally:
        built.close()
        finish(2.0)
    # Python would wait for threads blocked on a silent store; they hold nothing that needs closing.
    os._exit(0)
