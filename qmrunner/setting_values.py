"""Read the value of a setting from its text. Every reader raises ValueError with what it expected."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from qmrunner import masking
from qmrunner.errors import nearest
from qmrunner.model import labels


def integer(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"expected a whole number, got {text!r}") from None
        if value < least:
            raise ValueError(f"expected at least {least}, got {value}")
        return value

    return read


def seconds(least: float, unit: str = "seconds") -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"expected a number of {unit}, got {text!r}") from None
        if not least <= value < 1e9:
            raise ValueError(f"expected from {least:g} to 1e9 {unit}, got {text}")
        return value

    return read


def choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            near = nearest(text, words)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ValueError(f"expected one of {', '.join(words)}, got {text!r}{hint}")
        return text

    return read


def label_list(text: str) -> tuple[str, ...]:
    try:
        return labels.check(text.split(","))
    except ValueError as problem:
        raise ValueError(f"expected labels separated by commas: {problem}") from None


def path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def paths(text: str) -> tuple[Path, ...]:
    return tuple(path(part) for part in text.split(":") if part)


def text(value: str) -> str:
    return value


def command(value: str) -> str:
    try:
        shlex.split(value)
    except ValueError:
        raise ValueError(f"expected a command whose quotes are closed, got {value!r}") from None
    return value


def url(*schemes: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            known = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"expected a URL that starts with {known}, got {masking.masked_url(text)!r}")
        return text

    return read


# Each part begins with a letter or digit: no part is a dot or two.
_PREFIX = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*)+")


def prefix(text: str) -> str:
    """A path without a slash at its end."""
    found = text.rstrip("/")
    if not _PREFIX.fullmatch(found):
        raise ValueError(f"expected a path like /qmrunner, got {text!r}")
    return found


# URL of an artifact store: an absolute folder other than the root, or a bucket with an optional prefix.
_PLACE = re.compile(r"file:///[^?#]*[^?#/][^?#]*|s3://[a-z0-9][a-z0-9._-]{1,62}(/[^?#]*)?")


def place(text: str) -> str:
    if not _PLACE.fullmatch(text):
        seen = masking.masked_url(text)
        raise ValueError(f"expected file:///absolute/folder or s3://bucket/prefix, got {seen!r}")
    return text
