"""Counts levels and values of JSON before it is parsed: parsing `[{},{},…` takes 40 times its size."""

from __future__ import annotations

import re

from qmrunner.errors import UsageError

DEEPEST = 32
MOST_VALUES = 10_000
_MARK = re.compile(rb'["\[\]{},]')
# Possessive quantifiers: 60 MiB of escapes take a quarter of a second, and no memory.
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def check(text: bytes) -> None:
    """Raises UsageError `invalid_request` for JSON with more than DEEPEST levels or MOST_VALUES values. For text that
    is not JSON the result is arbitrary."""
    level = values = 0
    at = 0
    while (found := _MARK.search(text, at)) is not None:
        at, mark = found.end(), found[0]
        if mark == b'"':
            string = _REST_OF_STRING.match(text, at)
            if string is None:
                return  # the string does not end: not JSON
            at = string.end()
        elif mark in b"]}":
            level -= 1
        else:
            values += 1
            level += mark != b","
        if level > DEEPEST or values > MOST_VALUES:
            raise UsageError(
                "invalid_request",
                f"the JSON has more than {DEEPEST} levels or {MOST_VALUES} values",
                remedy="/docs and /openapi.json describe every field, with examples",
            )
