"""The server process: listens, refuses unsafe addresses without tokens, and stops on a signal."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn
from sqlalchemy.exc import IntegrityError

from qmrunner import __version__, masking
from qmrunner.api.application import build
from qmrunner.api.pages import Pages
from qmrunner.api.service import Service
from qmrunner.api.wire import Wire
from qmrunner.app import App
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.host import threads
from qmrunner.host.sockets import bind_short
from qmrunner.logs import get as get_logger
from qmrunner.store import tokens

_BACKLOG = 256


def serve(app: App, host: str, port: int, pages: Pages | None = None, *, stop_at_eof: bool = False) -> None:
    """Serve until SIGTERM or SIGINT. Raises NotReadyError when it cannot listen or the store is not usable, UsageError
    `token_needed` when other machines could send requests and no token exists."""
    store = app.open_store(create=True)
    _add_first_token(app)
    local = _is_loopback(host)
    if not local:
        with store.read() as connection:
            _require_token(host, tokens.count(connection))
    listener = _listen(host, port)
    address, number = listener.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{number}"
    asyncio.run(_serve(Service(app, trusts_everybody=local), listener, url, pages, stop_at_eof))


def serve_socket(app: App, path: Path, user: str, *, stop_at_eof: bool = False) -> None:
    """Serve the routes on a Unix socket at `path`, which only this process' user can open: that caller is `user`, with
    every scope and without a token. Raises NotReadyError `cannot_listen`, also if something is at `path`."""
    app.open_store(create=True)
    listener = _listen_at(path)
    mine = path.lstat()
    try:
        asyncio.run(
            _serve(Service(app, trusts_everybody=False, user=user), listener, f"unix:{path}", None, stop_at_eof)
        )
    finally:
        with suppress(OSError):
            if os.path.samestat(mine, path.lstat()):  # else something else has taken the place
                path.unlink()


async def _serve(service: Service, listener: socket.socket, url: str, pages: Pages | None, stop_at_eof: bool) -> None:
    app = service.app
    config = uvicorn.Config(
        build(service, pages), log_config=None, access_log=False, lifespan="on", server_header=False,
        timeout_graceful_shutdown=math.ceil(app.settings.stop_grace_seconds), http=Wire, ws="none",
        proxy_headers=False,  # otherwise a header could forge the client's address
    )  # fmt: skip
    server = _Server(config, service)
    needed = None if service.trusts_everybody or service.user is not None else True
    get_logger().info("api_started", url=url, version=__version__, store=app.store.url, tokens_needed=needed)
    if stop_at_eof:
        threads.start("stop_at_eof", server.stop_at_eof)
    await server.serve(sockets=[listener])
    get_logger().info("api_stopped")


def _add_first_token(app: App) -> None:
    """Add the token of `QMRUNNER_API_TOKEN_FILE` to a store without tokens; two servers may start at once."""
    path = app.settings.api_token_file
    if path is None:
        return
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise NotReadyError(
            "token_file_unreadable",
            f"QMRUNNER_API_TOKEN_FILE={path} cannot be read",
            evidence=str(problem),
            remedy="create the file with a secret of at least 32 characters, or unset the variable",
        ) from None
    masking.know((), [secret], also=True)
    with suppress(IntegrityError), app.store.write() as connection:
        tokens.add_first(connection, app.store.now(), secret)


class _Server(uvicorn.Server):
    """A signal is the normal way to stop: exit status 0, and streams end immediately."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._service.stopping.set)

    def stop_at_eof(self) -> None:
        """Stop as a signal does once stdin ends, which it also does when its writer is killed. Blocks its thread."""
        while os.read(0, 1 << 10):
            pass
        self.handle_exit(signal.SIGTERM, None)


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as problem:
        raise NotReadyError(
            "cannot_listen",
            f"cannot listen on {host} port {port}",
            evidence=str(problem),
            remedy="choose another --host or --port; `ss -ltnp` shows the process that uses it",
        ) from None


def _listen_at(path: Path) -> socket.socket:
    """A socket that listens before it is at `path`, so that no client finds one that refuses it."""
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket is made without permissions for others; no thread runs yet
    made = path.parent / f".qmrunner-{secrets.token_hex(8)}"
    try:
        bind_short(listener, made.parent, made.name)
        listener.listen(_BACKLOG)
        os.link(made, path)  # fails if there is something
    except (OSError, ValueError) as problem:
        listener.close()
        raise NotReadyError(
            "cannot_listen",
            f"cannot listen at {path}",
            evidence=str(problem),
            remedy="give a path that does not exist, in a folder of yours",
        ) from None
    finally:
        with suppress(OSError, ValueError):
            made.unlink()
        os.umask(before)
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_token(host: str, count: int) -> None:
    if count == 0:
        raise UsageError(
            "token_needed",
            f"{host} is reachable from other machines, and no token exists yet",
            remedy="create a token first: `qmrunner token add NAME --scope write`; or listen on 127.0.0.1",
        )
