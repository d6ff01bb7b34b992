"""Names of Huey applications, from their commands. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

LABEL = "app:"  # no label of a user has a colon
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NUMBER = re.compile(r"[\d.]+")
_WITH_VALUE = re.compile(
    "-[WXvwkldbcsL]|--(settings|pythonpath|verbosity|workers|worker-type|logfile|(max-)?delay|backoff"
    "|health-check-interval|scheduler-interval|max-tasks|extra-locks)"
)
_LONGEST = 40


def name_of(words: Sequence[str]) -> str:
    """A name for `status`, labels and sockets: the path of the Huey instance, else the program and its argument. It
    must not change with an option: tasks are kept under it."""
    operands = _operands(words)
    dotted = [
        word
        for word in operands
        if _DOTTED.fullmatch(word) and not word.endswith(".py") and not word.startswith("huey.")
    ]
    plain = [word.rpartition("/")[2].removesuffix(".py") for word in operands]
    name = dotted[0] if dotted else "-".join(plain[-2:])
    return re.sub(r"[^a-z0-9_.-]", "-", name.lower())[:_LONGEST].strip(".-") or "app"


def _operands(words: Sequence[str]) -> list[str]:
    """The words that are neither options nor values of the options of Python, Django and Huey's consumer."""
    return [
        word
        for before, word in zip(("", *words), words, strict=False)
        if not word.startswith("-") and not _WITH_VALUE.fullmatch(before) and not _NUMBER.fullmatch(word)
    ]


def label_of(name: str) -> str:
    """The label that a worker has because it runs this application."""
    return LABEL + name
