"""Families of aborts: the failure code for a program's message that matches no signature. One TOML file per program.

```toml
[categories]
disk = ["write", "files"]       # tried in this order; the last one is used if none matches

[common]
order = ["memory", "input"]     # the meaning of "*" in a category

[family.write]
code = "scratch_full"
class = "resource"              # never transient: the same input would abort again
remedy = "One sentence to a person."
says = ['\\bwriting\\b']        # regexes for the message, case ignored; none for a family that is only used last
```
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Evidence, FailureClass


@dataclass(frozen=True, slots=True)
class Family:
    """Aborts of one kind: their code, class and remedy, and the pattern of their messages."""

    code: str
    failure_class: FailureClass
    remedy: str
    says: re.Pattern[str] | None = None


def load(file: Path) -> dict[str, tuple[Family, ...]]:
    """Category → families in the order in which they are tried; the last is used if none matches.

    Raises ValueError when the file names a family that it does not describe, or calls one transient.
    """
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    known = {name: _family(name, entry) for name, entry in data["family"].items()}
    orders: dict[str, tuple[Family, ...]] = {}
    for category, names in data["categories"].items():
        order = [member for name in names for member in (data["common"]["order"] if name == "*" else [name])]
        if lacking := set(order) - set(known):
            raise ValueError(f"{file.name}: {category} names unknown families {sorted(lacking)}")
        orders[category] = tuple(known[name] for name in order)
    return orders


def _family(name: str, entry: dict[str, Any]) -> Family:
    if entry["class"] not in get_args(FailureClass) or entry["class"] == "transient":
        raise ValueError(f"family {name}: class {entry['class']}")
    says = entry.get("says")
    pattern = re.compile("|".join(says), re.IGNORECASE) if says else None
    return Family(entry["code"], entry["class"], entry["remedy"], pattern)


def answer(order: Sequence[Family], messages: Sequence[str], evidence: Evidence) -> Finding:
    """The finding of the first family that matches the first message, else the next one; else of the last family."""
    matching = (
        family for message in messages for family in order if family.says is not None and family.says.search(message)
    )
    family = next(matching, order[-1])
    return Finding(family.code, family.failure_class, evidence, family.remedy)
