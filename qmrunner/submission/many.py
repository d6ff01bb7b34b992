"""Many molecules in one file: a list of SMILES, a CSV with a header, or an SDF. Pure; no molecule is read here.

Every line or record becomes one entry. What is wrong with a line is found when its job is made, so that the others are
submitted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from qmrunner.errors import UsageError

SUFFIXES = (".smi", ".smiles", ".txt", ".csv", ".tsv", ".sdf")
MOST = 5000
_RECORD_END = re.compile(r"^\$\$\$\$.*\n?", re.MULTILINE)
_NAMES = ("name", "id", "title")
# Options that a column of a CSV may set for its line, with their types.
OPTIONS: dict[str, type] = {
    "solvent": str, "level": str, "conformers": str, "max_conformers": int, "charge": int, "multiplicity": int,
    "temperature_k": float, "priority": int,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One molecule: the number of its line or record, from 1, its SMILES or MOL block, and its own options."""

    number: int
    smiles: str | None = None
    block: str | None = None
    name: str | None = None
    options: Mapping[str, str | int | float] = field(default_factory=dict)
    problem: UsageError | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """The molecules of a file, and the columns of a CSV that mean nothing here."""

    found: tuple[Entry, ...]
    ignored: tuple[str, ...] = ()


def read(text: str, name: str) -> Entries:
    """The molecules of a text; the ending of `name` gives the format.

    Raises UsageError `unknown_format`, `empty_file`, `too_many_lines`, and `no_smiles_column` for a CSV without one.
    """
    suffix = PurePath(name).suffix.lower()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if suffix == ".sdf":
        made = Entries(tuple(_records(text)))
    elif suffix in (".csv", ".tsv"):
        made = _table(text, name, "\t" if suffix == ".tsv" else ",")
    elif suffix in SUFFIXES:
        made = Entries(tuple(_lines(text)))
    else:
        raise UsageError(
            "unknown_format", f"{name}: the ending {suffix or '(none)'} is not known",
            remedy=f"give a file that ends in {', '.join(SUFFIXES)}",
        )  # fmt: skip
    if not made.found:
        raise UsageError("empty_file", f"{name} has no molecule", remedy="write one SMILES on each line")
    if len(made.found) > MOST:
        raise UsageError(
            "too_many_lines", f"{name} has {len(made.found)} molecules, {MOST} are allowed", remedy="split the file"
        )
    return made


def _lines(text: str) -> list[Entry]:
    """`SMILES [NAME]` on each line; `#` at its beginning makes a comment."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split(None, 1)
        if words and not line.lstrip().startswith("#"):
            found.append(Entry(number, words[0], name=words[1].strip() if len(words) > 1 else None))
    return found


def _records(text: str) -> list[Entry]:
    blocks = [block for block in _RECORD_END.split(text) if block.strip()]
    return [
        Entry(number, block=f"{block.rstrip()}\n$$$$\n", name=block.split("\n", 1)[0].strip() or None)
        for number, block in enumerate(blocks, start=1)
    ]


def _table(text: str, name: str, separator: str) -> Entries:
    rows = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        if "smiles" not in header:
            raise UsageError(
                "no_smiles_column", f"{name}: the first line has no column smiles",
                evidence=separator.join(header)[:200],
                remedy="the first line names the columns, for example smiles,name,charge",
            )  # fmt: skip
        found = [
            _row(rows.line_num, dict(zip(header, row, strict=False)))
            for row in rows
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as problem:
        raise UsageError(
            "unreadable_file", f"{name} is not a CSV", evidence=str(problem), remedy="check quotes and separators"
        ) from None
    known = {"smiles", *_NAMES, *OPTIONS}
    return Entries(tuple(found), tuple(column for column in header if column and column not in known))


def _row(number: int, cells: Mapping[str, str]) -> Entry:
    name = next((cells[key].strip() for key in _NAMES if cells.get(key, "").strip()), None)
    options: dict[str, str | int | float] = {}
    problem = None
    for key, kind in OPTIONS.items():
        given = cells.get(key, "").strip()
        try:
            if given:
                options[key] = kind(given)
        except ValueError:
            problem = UsageError(
                "bad_number", f"column {key}: {given[:40]!r} is not a number", remedy="correct the cell, or empty it"
            )
    return Entry(number, cells.get("smiles", "").strip(), name=name, options=options, problem=problem)
