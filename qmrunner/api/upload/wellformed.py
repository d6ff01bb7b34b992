"""Checks that a request is well formed.

Pure: method, target and headers in, an error out. The server's parser has refused everything that is not HTTP before.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from qmrunner.errors import UsageError

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{0,255}))(?::(?P<port>[0-9]{0,5}))?")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://(?P<host>.+)")
_METHOD = re.compile(r"[A-Z]{1,20}")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Headers that this server reads. Two lines of one header could be understood differently by a proxy and by this server.
_ONCE = {
    b"authorization", b"content-length", b"content-type", b"expect", b"host", b"idempotency-key", b"last-event-id",
    b"origin", b"sec-fetch-site", b"transfer-encoding",
}  # fmt: skip


def check_start(method: str, version: str) -> None:
    """Raises UsageError `bad_method` for a word that cannot be an HTTP method, `bad_request` for a version other than
    HTTP/1."""
    if version not in ("1.0", "1.1"):
        raise UsageError("bad_request", f"this is HTTP {_shown(version)}", remedy="send HTTP/1.1")
    if not _METHOD.fullmatch(method):
        raise UsageError("bad_method", "this is not an HTTP method", evidence=_shown(method), remedy="send GET or POST")


def check_target(path: bytes, query: bytes) -> None:
    """Raises UsageError `bad_target` for a target that is not a path, or whose escapes are not UTF-8."""
    if not path.startswith(b"/"):
        raise _bad_target("the target of a request must be a path", path)
    for part in (path, query):
        if _BROKEN_ESCAPE.search(part):
            raise _bad_target("a % must be followed by two hexadecimal digits", part)
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise _bad_target("the path is not UTF-8", path) from None


def checked_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that this server reads, each once. Raises UsageError `bad_header`."""
    found: dict[str, str] = {}
    for name, value in raw:
        if _CONTROL.search(value):
            raise _bad_header(name.decode("latin-1")[:50], "has a control character", value.decode("latin-1"))
        if name == b"cookie":  # of every program on this host: not ours to refuse
            found["cookie"] = f"{found.get('cookie', '')}; {value.decode('latin-1')}".removeprefix("; ")
        if name not in _ONCE:
            continue
        word = name.decode()
        if word in found:
            raise _bad_header(word, "comes twice")
        text = value.decode("latin-1")
        if not (text.isascii() and (text.isprintable() or not text)):
            raise _bad_header(word, "has characters other than printable ASCII", text)
        found[word] = text
    if "host" in found and not _is_host(found["host"]):
        raise _bad_header("host", "is not a host name", found["host"])
    if "origin" in found and not _is_origin(found["origin"]):
        raise _bad_header("origin", "is not an origin", found["origin"])
    return found


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        return False
    try:
        return found["six"] is None or ipaddress.IPv6Address(found["six"]) is not None
    except ValueError:
        return False


def _is_origin(text: str) -> bool:
    found = _ORIGIN.fullmatch(text)
    return text == "null" or (found is not None and _is_host(found["host"]))


def _bad_header(name: str, what: str, evidence: str | None = None) -> UsageError:
    return UsageError(
        "bad_header", f"the header {name.title()} {what}", evidence=None if evidence is None else _shown(evidence),
        remedy="send it once, in the format of the HTTP specification",
    )  # fmt: skip


def _bad_target(message: str, seen: bytes) -> UsageError:
    return UsageError(
        "bad_target", message, evidence=_shown(seen.decode("latin-1")),
        remedy="send a path, with % before the hexadecimal digits of each byte that is not printable",
    )  # fmt: skip


def _shown(text: str) -> str:
    return ascii(text[:100])
