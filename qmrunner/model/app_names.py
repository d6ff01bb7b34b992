"""Names of Huey applications, from their commands. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

LABEL = "app:"  # no label of a user has a colon
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_LONGEST = 40


def name_of(words: Sequence[str]) -> str:
    """A name for `status`, labels and sockets: the path of the Huey instance, else the program and its argument."""
    dotted = [
        word for word in words if _DOTTED.fullmatch(word) and not word.endswith(".py") and not word.startswith("huey.")
    ]
    plain = [word.rpartition("/")[2].removesuffix(".py") for word in words if not word.startswith("-")]
    name = dotted[0] if dotted else "-".join(plain[-2:])
    return re.sub(r"[^a-z0-9_.-]", "-", name.lower())[:_LONGEST].strip(".-") or "app"


def label_of(name: str) -> str:
    """The label that a worker has because it runs this application."""
    return LABEL + name
