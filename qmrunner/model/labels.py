"""Labels: what a job asks of the worker that runs it, beyond sizes (`big-memory`, `avx512`). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

MOST = 20
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def check(labels: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order. Raises ValueError that names what is no label."""
    found = tuple(sorted({label.strip() for label in labels} - {""}))
    for label in found:
        if _LABEL.fullmatch(label) is None:
            raise ValueError(
                f"expected labels of up to 40 lower-case letters, digits, dots, underscores and dashes, got {label!r}"
            )
    if len(found) > MOST:
        raise ValueError(f"expected {MOST} labels at most, got {len(found)}")
    return found


def stored(labels: Iterable[str]) -> str:
    """As a column holds them, each between bars: one can be taken out without touching another."""
    return "".join(f"|{label}|" for label in labels)


def of_stored(text: str) -> tuple[str, ...]:
    return tuple(label for label in text.split("|") if label)


def met(required: Collection[str], has: Collection[str]) -> bool:
    """Whether a worker that `has` these labels may run what requires those."""
    return set(required) <= set(has)


def waits_for(required: Collection[str]) -> str:
    """Why a step does not start that no running worker may take."""
    many = "s" if len(required) > 1 else ""
    return f"a worker with the label{many} {', '.join(required)} (QMRUNNER_LABELS): none is running"
