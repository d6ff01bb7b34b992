"""The cookie of a session. Pure: headers in, words out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def name_of(headers: Mapping[str, str], *, https: bool, prefix: str | None = None) -> str:
    """The name of this server's cookie. It has the port of the address that the browser uses, and its prefix: a cookie
    alone is sent to every port of a host, and `__Host-` to every path."""
    port = urlsplit(f"//{headers.get('host', '')}").port or (443 if https else 80)
    return f"{'__Host-' if https else ''}qmrunner_{port}{(prefix or '').replace('/', '_').replace('~', '-')}"


def session_of(headers: Mapping[str, str], prefix: str | None = None) -> str | None:
    """The secret in the cookie of this server, None without one. Of two cookies with one name, a browser sends the more
    specific first."""
    pairs = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
    for name in (name_of(headers, https=https, prefix=prefix) for https in (True, False)):
        for given, _, value in pairs:
            if given == name:
                return value if _SECRET.fullmatch(value) else None
    return None


def host_of(headers: Mapping[str, str]) -> str | None:
    """The host that the browser used, without its port."""
    return urlsplit(f"//{headers.get('host', '')}").hostname
