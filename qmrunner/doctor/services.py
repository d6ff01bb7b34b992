"""Checks of services: the store and its schema, PostgreSQL, Redis, the artifact store and the daemon of this home."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qmrunner import settings_file
from qmrunner.doctor.finding import Finding, fail, of_error, ok, warn
from qmrunner.errors import QmrunnerError
from qmrunner.private import Trust

_WAIT_S = 3
_POSTGRES_LEAST = 12


def schema(state: str, found: str | None, head: str, where: str) -> Finding:
    """The store's schema: current, empty, outdated or newer."""
    data = {"state": state, "revision": found, "head": head, "store": where}
    if state == "outdated":
        text = f"{where} is at revision {found}, this version of qmrunner needs {head}"
        remedy = "stop all daemons on it, back it up, then run `qmrunner db upgrade`"
        return fail("store", "store_outdated", text, remedy, **data)
    if state == "newer":
        text = f"{where} is at revision {found}, which this version of qmrunner ({head}) does not know"
        remedy = "upgrade qmrunner to the version that last used the store"
        return fail("store", "store_newer", text, remedy, **data)
    if state == "empty":
        return ok("store", f"{where} is empty; `qmrunner run` creates its tables", **data)
    return ok("store", f"{where}: schema {found}, as needed", **data)


def sqlite_store(path: Path) -> Finding:
    """A store in a file, read only. Raises QmrunnerError when it cannot be read."""
    from qmrunner.store.schema import HEAD, revision_of_file, state_of

    if not path.exists():
        return ok("store", f"no store yet at {path}; `qmrunner run` creates it", state="missing", store=str(path))
    found = revision_of_file(path)
    return schema(state_of(found), found, HEAD, str(path))


def postgres(url: str) -> Iterator[Finding]:
    """The server, its version, and the schema there."""
    from sqlalchemy import text
    from sqlalchemy.engine import make_url

    from qmrunner.store.schema import HEAD, revision, state_of
    from qmrunner.store.session import Store

    impatient = make_url(url).update_query_dict({"connect_timeout": str(_WAIT_S)})
    try:
        store = Store(impatient.render_as_string(hide_password=False))
        with store.read() as connection:
            version = str(connection.execute(text("SHOW server_version")).scalar())
        found = revision(store)
    except QmrunnerError as problem:
        shown = make_url(url).render_as_string(hide_password=True)
        yield fail("postgresql", problem.code, f"{shown}: {problem.evidence or problem.message}", problem.remedy)
        return
    shown = make_url(url).render_as_string(hide_password=True)
    major = re.match(r"\d+", version)
    if major and int(major[0]) < _POSTGRES_LEAST:
        text_ = f"{shown}: version {version} is older than {_POSTGRES_LEAST}"
        yield warn("postgresql", "postgresql_old", text_, "upgrade the server", version=version)
    else:
        yield ok("postgresql", f"{shown}: version {version}", version=version)
    yield schema(state_of(found), found, HEAD, shown)
    store.close()


def redis_queue(url: str) -> Iterator[Finding]:
    """The Redis server that carries wake-up messages: whether it answers, and who else may use it."""
    shown = re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"//.*@", "//***@", url))
    try:
        import redis
    except ModuleNotFoundError as missing:
        yield fail("redis", "queue_driver_missing", str(missing), "`pip install 'qmrunner[redis]'`")
        return
    remedy = "check that the server runs and that QMRUNNER_QUEUE_URL is right"
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=_WAIT_S, socket_timeout=_WAIT_S)
        try:
            info: dict[str, Any] = dict(client.info("server"))
            is_open = _takes_anybody(client.connection_pool)
        finally:
            client.close()
    except (redis.RedisError, OSError, ValueError) as problem:
        yield fail("redis", "queue_unavailable", f"{shown}: {problem}", remedy)
        return
    yield ok("redis", f"{shown}: version {info.get('redis_version')}", version=info.get("redis_version"))
    options = client.connection_pool.connection_kwargs
    yield from queue_access(shown, options.get("host"), url.startswith("rediss"), options.get("ssl_cert_reqs"), is_open)


def queue_access(shown: str, host: str | None, tls: bool, verify: Any, is_open: bool) -> Iterator[Finding]:
    """Who may send and take wake-up messages. They carry no data: a stranger can delay steps but run no code. `host` is
    None for a socket in the filesystem."""
    near = host is None or _is_loopback(host)
    if is_open and host is not None:  # access to a socket in the filesystem is governed by its mode
        whom = "every user of this machine" if near else "every host that can reach it"
        effect = "can send, take and delete wake-up messages (steps start late; no code runs)"
        text = f"{shown} needs no password: {whom} {effect}"
        set_one = "set `requirepass` (and `user default off` if ACL users exist) and put it into"
        yield warn("redis_access", "queue_open", text, f"{set_one} QMRUNNER_QUEUE_URL or QMRUNNER_QUEUE_PASSWORD_FILE")
    if near:
        return
    if not tls:
        text = f"{shown} is not encrypted: the password can be read from the traffic to {host}"
        remedy = "use rediss://…?ssl_ca_certs=/path/of/ca.pem, or restrict that network to the daemons"
        yield warn("redis_tls", "queue_unencrypted", text, remedy)
    elif str(verify).lower() in ("none", "cert_none", "0", "false", "verifymode.cert_none"):
        text = f"{shown} is encrypted, but its certificate is not verified: another host could impersonate {host}"
        yield warn("redis", "queue_unverified", text, "remove ssl_cert_reqs and add ssl_ca_certs=/path/of/ca.pem")


def _takes_anybody(pool: Any) -> bool:
    """Whether the server accepts commands without user and password. Raises OSError."""
    import redis

    named = ("username", "password", "credential_provider")
    options = {name: value for name, value in pool.connection_kwargs.items() if name not in named}
    stranger = redis.Redis(connection_pool=redis.ConnectionPool(pool.connection_class, **options))
    try:
        return bool(stranger.ping())
    except redis.RedisError:
        return False
    finally:
        stranger.connection_pool.disconnect()


def _is_loopback(host: str) -> bool:
    """Whether all addresses of that name are this machine's own."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)
    except (OSError, ValueError):
        return False


def artifact_store(url: str, store_url: str) -> Finding:
    """The artifact store: whether it answers, belongs to this store, and can be written and read."""
    from qmrunner.artifacts.blobs import connect
    from qmrunner.artifacts.files import Artifacts
    from qmrunner.store.schema import status
    from qmrunner.store.session import Store, file_of

    blobs = connect(url)
    began = time.monotonic()
    path = file_of(store_url)
    store = Store(store_url) if path is None or path.exists() else None
    try:
        if store is None or status(store) != "current":
            blobs.identity()  # raises where it does not answer
            return ok("artifacts", f"{blobs.where} answers; no store uses it yet")
        artifacts = Artifacts(blobs, store)
        if artifacts.is_new():
            return ok("artifacts", f"{blobs.where} answers; its first use binds it to this store")
        artifacts.verify_pairing()
        artifacts.try_out()
    finally:
        if store is not None:
            store.close()
    seconds = round(time.monotonic() - began, 3)
    return ok("artifacts", f"{blobs.where}: written, read and removed in {seconds} s", seconds=seconds)


def daemon(report: dict[str, Any]) -> Finding:
    """The daemon of this home, as `health` reports it. No running daemon is fine."""
    data = {"pid": report["pid"]}
    if report["pid"] is None:
        return ok("daemon", "no daemon runs on this home", **data)
    if not report["healthy"]:
        return warn("daemon", "daemon_unhealthy", str(report["reason"]), "see `qmrunner status`", **data)
    return ok("daemon", f"runs as process {report['pid']}", **data)


def settings(problem: QmrunnerError | None, home: Path | None) -> Finding:
    """Whether all settings could be read."""
    if problem is not None:
        return of_error("settings", problem)
    file = settings_file.place(os.environ)
    if file is not None and (why := _open_to_others(file)):
        text = f"home {home}; another user may change {file}, which names the programs that run as this user: {why}"
        remedy = f"run `chmod go-w {file}`, and `chown` it if it belongs to another user"
        return warn("settings", "settings_file_open", text, remedy, home=str(home))
    return ok("settings", f"home {home}", home=str(home))


def _open_to_others(file: Path) -> str | None:
    try:
        return Trust.of("off").objection(os.stat(file))
    except OSError:
        return None
