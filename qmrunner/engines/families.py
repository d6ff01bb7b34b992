"""Families of aborts: what a message of a program comes to that no signature knows. Data, one TOML file per program.

```toml
[categories]
disk = ["write", "files"]       # tried in this order; the last one answers for whatever is left

[common]
order = ["memory", "input"]     # what "*" in a category stands for

[family.write]
code = "scratch_full"
class = "resource"              # never transient: the same input would abort again
remedy = "One sentence to a person."
says = ['\\bwriting\\b']        # regexes for the message, in any case; none in a family that only comes last
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
    """Aborts of one kind: their code, class and remedy, and what their messages say."""

    code: str
    failure_class: FailureClass
    remedy: str
    says: re.Pattern[str] | None = None


def load(file: Path) -> dict[str, tuple[Family, ...]]:
    """Category → families in the order in which they are tried; the last answers for whatever is left.

    Raises ValueError when the file names a family that it does not describe, or calls one transient.
    """
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    known = {name: _family(name, entry) for name, entry in data["family"].items()}
    orders: dict[str, tuple[Family, ...]] = {}
    for category, names in data["categories"].items():
        order = [one for name in names for one in (data["common"]["order"] if name == "*" else [name])]
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
    """The first of these families that speaks of the first message, else of the next one; else the last family."""
    spoken = (one for message in messages for one in order if one.says is not None and one.says.search(message))
    family = next(spoken, order[-1])
    return Finding(family.code, family.failure_class, evidence, family.remedy)
