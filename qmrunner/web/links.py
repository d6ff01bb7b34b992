"""Addresses within this server. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

_LONGEST = 2000


def own_path(text: str, default: str = "/") -> str:
    """`text` if it is a path of this server with or without a query, else `default`: no form leads to another host."""
    bad = any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in text)
    if bad or not text.isascii() or len(text) > _LONGEST or not text.startswith("/") or text.startswith("//"):
        return default
    parts = urlsplit(text)
    return default if parts.scheme or parts.netloc else text
