"""From what a user passes to `Client` to a session with a server."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qmrunner import __version__
from qmrunner.client.local import LocalServer
from qmrunner.client.session import Session
from qmrunner.client.wire import AsyncWire, BlockingWire
from qmrunner.errors import UsageError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# A host with a port or a domain: the folder of a home has a slash, or exists.
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*:\d{1,5}|[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")


def session_of(
    wire: type[AsyncWire] | type[BlockingWire], where: str | os.PathLike[str] | None, token: str | None,
    patience: float, verify: Any,
) -> Session:  # fmt: skip
    """The session of a client: to a server, or to the local home. Raises UsageError `bad_address`, `usage`."""
    if isinstance(where, str) and "://" in where:
        return _remote(wire, where, token, patience, verify)
    if where is not None and not isinstance(where, str | os.PathLike):
        raise UsageError("bad_address", f"{where!r:.80} is neither an address nor a folder", remedy=_AS_IN)
    if isinstance(where, str) and _HOST.fullmatch(where) and not Path(where).exists():
        raise UsageError(
            "bad_address", f"{where} is no address, and there is no folder of this name",
            remedy=f"Client('https://{where}') is a server, Client('./{where}') a new home in the present folder",
        )  # fmt: skip
    if token is not None:
        raise UsageError("usage", "a token is for a server, and no address of one is given", remedy=_AS_IN)
    home = None if where is None else Path(where).expanduser()
    _warn_of_new_home(home)
    return Session(wire(LocalServer(home), base_url="http://localhost", headers=_AGENT), _called(home), patience)


_AGENT = {"User-Agent": f"qmrunner-client/{__version__}"}
_AS_IN = "as in Client('https://qm.example.org'), or Client('/data/qmrunner')"


def _remote(
    wire: type[AsyncWire] | type[BlockingWire], where: str, token: str | None, patience: float, verify: Any
) -> Session:
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("bad_address", f"{where} is not an address", remedy=_AS_IN)
    headers = dict(_AGENT)
    if token is not None:
        headers["Authorization"] = f"Bearer {token.strip()}"
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            warnings.warn(f"the token is sent to {parts.hostname} unencrypted: use https://", stacklevel=5)
    # A proxy of the environment cannot reach this machine's own loopback.
    how: dict[str, Any] = {"base_url": where.rstrip("/"), "verify": verify, "headers": headers}
    return Session(wire(None, trust_env=parts.hostname not in _LOOPBACK, **how), where, patience)


def _called(home: Path | None) -> str:
    return "the local home" if home is None else str(home)


def _warn_of_new_home(home: Path | None) -> None:
    """A home that is made now has no jobs and no worker: often its path, or the present folder, is wrong."""
    place = Path("qmrunner-data") if home is None else home
    chosen = home is None and os.environ.get("QMRUNNER_HOME")
    if not chosen and not place.exists():
        warnings.warn(f"there is no folder {place.absolute()}: a new home is made there", stacklevel=4)
