"""Which jobs a list shows, as a value. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

# Longer SMILES are not indexed: an index entry of PostgreSQL holds at most 2.7 kB.
LONGEST_STRUCTURE = 1000
_INCHIKEY = re.compile(r"[A-Z]{14}(?:-[A-Z]{10}-[A-Z])?")
_SMILES_LETTERS = frozenset("BCNOFPSI")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The conditions that a job meets, all of them; of several values of one field, one. An empty field admits all.

    `codes`, `owners` and `groups` are compared as a whole. The name of the job contains each of `words`, whatever their
    case. `structure` is a canonical SMILES, an InChIKey, or the first block of one (any stereochemistry). The job was
    submitted at `since` or later, and before `until`: Unix seconds.
    """

    states: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    structure: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def admits_all(self) -> bool:
        return all(getattr(self, field.name) in ((), None) for field in fields(self))


def is_inchikey(text: str) -> bool:
    """Whether this is an InChIKey or the first block of one, and no SMILES such as CCCCCCCCCCCCCC."""
    return _INCHIKEY.fullmatch(text) is not None and not _SMILES_LETTERS.issuperset(text)
