"""File names in requests: of uploads and of files to download."""

from __future__ import annotations

import re

from qmrunner.errors import UsageError

_LONGEST_NAME = 150  # bytes; file systems allow 255, and engines append extensions
_LONGEST_PATH = 1000


def upload_name(given: str) -> str:
    """A name for a file in the job's folder: the last part of the name that a client sent.

    Raises UsageError `bad_file_name` for a name that is absolute, has a part `..`, is hidden, too long, or contains
    unprintable characters.
    """
    parts = re.split(r"[/\\]", given)
    base = parts[-1]
    fine = (
        base
        and given.isprintable()
        and not given.startswith(("/", "\\"))
        and not re.match(r"[A-Za-z]:", given)
        and ".." not in parts
        and not base.startswith((".", "-"))
        and len(base.encode(errors="replace")) <= _LONGEST_NAME
        and len(given) <= _LONGEST_PATH
    )
    if not fine:
        raise UsageError(
            "bad_file_name",
            f"invalid file name {given[:100]!r}",
            remedy=f"send a plain name of at most {_LONGEST_NAME} bytes, without '..' and without a leading '.' or '-'",
        )
    return base


def published_name(given: str) -> str:
    """A path in a job's folder as `files` lists it. Raises UsageError `bad_path` for a path that no job can have."""
    parts = given.split("/")
    if len(given) > _LONGEST_PATH or not given.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            "bad_path",
            f"{given[:100]!r} is not the path of a published file",
            remedy="use a path from the list of `files`",
        )
    return given
