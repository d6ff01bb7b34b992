"""Labels that a job requires of its worker, beyond sizes (`big-memory`, `avx512`). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

MOST = 20
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def check(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels sorted, without duplicates. Raises ValueError that names an invalid label."""
    checked = tuple(sorted({label.strip() for label in labels} - {""}))
    for label in checked:
        if _LABEL.fullmatch(label) is None:
            raise ValueError(
                f"expected labels of up to 40 lower-case letters, digits, dots, underscores and dashes, got {label!r}"
            )
    if len(checked) > MOST:
        raise ValueError(f"expected {MOST} labels at most, got {len(checked)}")
    return checked


def stored(labels: Iterable[str]) -> str:
    """The text of the database column: each label between bars, so that one can be removed without changing another."""
    return "".join(f"|{label}|" for label in labels)


def of_stored(text: str) -> tuple[str, ...]:
    return tuple(label for label in text.split("|") if label)


def met(required: Collection[str], has: Collection[str]) -> bool:
    """Whether a worker that `has` these labels may run a job with the `required` ones."""
    return set(required) <= set(has)


def waits_for(required: Collection[str]) -> str:
    """The wait reason of a step that no running worker may claim."""
    many = "s" if len(required) > 1 else ""
    return f"a worker with the label{many} {', '.join(required)} (QMRUNNER_LABELS): none is running"
