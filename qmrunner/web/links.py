"""Addresses within this server, and commands to paste. Pure."""

from __future__ import annotations

import shlex
from urllib.parse import urlencode, urlsplit

from qmrunner.reports.query import Term

_LONGEST = 2000


def jobs_where(value: str, key: str) -> str | None:
    """The list of the jobs with this value; None for one that the language of the list cannot write."""
    return None if '"' in value else f"/jobs?{urlencode({'q': str(Term(key, value))})}"


def own_path(text: str, default: str = "/") -> str:
    """`text` if it is a path of this server with or without a query, else `default`: no form leads to another host."""
    bad = any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in text)
    if bad or not text.isascii() or len(text) > _LONGEST or not text.startswith("/") or text.startswith("//"):
        return default
    parts = urlsplit(text)
    return default if parts.scheme or parts.netloc else text


FILTERS = {"jobs_where": jobs_where, "shell": shlex.quote}
