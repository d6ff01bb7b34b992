"""A user's deck: checked before it is accepted, and made to live inside its attempt's directory and grant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qmrunner.engines.nwchem.sizes import deck_memory_mib
from qmrunner.errors import UsageError

_TASK = re.compile(r"^\s*task\b\s*(?P<what>.*)", re.IGNORECASE)
_INCLUDE = re.compile(r"^\s*include\b", re.IGNORECASE)
_DIRECTORY = re.compile(r"^\s*(scratch|permanent)_dir\b", re.IGNORECASE)
_MEMORY = re.compile(r"^\s*memory\b", re.IGNORECASE)
_START = re.compile(r"^\s*(start|restart)\b\s*(?P<prefix>[^\s;]*)", re.IGNORECASE)
_GEOMETRY = re.compile(r"^\s*geometry\b", re.IGNORECASE)
_GEOMETRY_LINE = re.compile(r"^\s*geometry\b[^#;\\]*", re.IGNORECASE)
_NOT_AN_ATOM = re.compile(r"^\s*(symmetry|load|zmatrix|zcoord|system|bq)", re.IGNORECASE)
_ATOM = re.compile(r"^\s*[A-Za-z]{1,2}\S*(\s+[-+]?\d*\.?\d+([eEdD][-+]?\d+)?){3}")
_UNITS_MIB = {
    "double": 8 / 2**20, "doubles": 8 / 2**20, "real": 8 / 2**20, "integer": 8 / 2**20, "byte": 1 / 2**20,
    "b": 1 / 2**20, "kb": 1 / 1024, "mb": 1.0, "gb": 1024.0, "mw": 8.0, "word": 8 / 2**20, "megabytes": 1.0,
}  # fmt: skip
_OURS = "# qmrunner: "


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A deck as it will run, and a note for every line that is not the user's."""

    text: str
    notes: tuple[str, ...]


def check_deck(text: str) -> None:
    """Refuse a deck that cannot compute anything.

    Raises UsageError: `no_task` when the deck is empty or has no task line (NWChem would exit 0 having done nothing),
    `input_error` when it is not text or its memory line cannot be right.
    """
    if "\0" in text:
        raise UsageError(
            "input_error", "The deck is not a text file.", remedy="Hand in the NWChem input as plain text."
        )
    if not text.strip():
        raise UsageError("no_task", "The deck is empty.", remedy="Hand in an NWChem input with at least one task line.")
    if not any(_TASK.match(line) or _INCLUDE.match(line) for line in directives(text)):
        last = text.strip().splitlines()[-1].strip()
        raise UsageError(
            "no_task",
            "The deck has no task line: NWChem would read it, compute nothing and report success.",
            evidence=f"last line: {last}",
            remedy="Add a line such as `task dft energy`.",
        )
    requested_memory_mib(text)


def tasks(text: str) -> tuple[str, ...]:
    """What each task line asks for, in order, in lower case: ``("dft optimize", "dft property")``."""
    found = (_TASK.match(line) for line in directives(text))
    return tuple(" ".join(match["what"].lower().split()) for match in found if match)


def includes_files(text: str) -> bool:
    """Whether the deck takes in other files, so that its own lines are not all of it."""
    return any(_INCLUDE.match(line) for line in directives(text))


def prefix(text: str, file_name: str) -> str:
    """The name of the run: what `start` or `restart` says, else the deck's name without its ending."""
    for line in directives(text):
        match = _START.match(line)
        if match and match["prefix"]:
            return match["prefix"].strip("\"'")
    return file_name.rsplit(".", 1)[0]


def requested_memory_mib(text: str) -> int | None:
    """What the deck's memory line asks for per rank, or None when it has none. Raises UsageError on a bad line."""
    line = next((line for line in directives(text) if _MEMORY.match(line)), None)
    if line is None:
        return None
    words = line.lower().split()[1:]
    parts: dict[str, float] = {}
    name = "total"
    for at, word in enumerate(words):
        if re.fullmatch(r"\d+(\.\d+)?", word):
            unit = words[at + 1] if at + 1 < len(words) else "double"
            parts[name] = float(word) * _UNITS_MIB.get(unit, _UNITS_MIB["double"])
        elif word in ("total", "stack", "heap", "global"):
            name = word
    total = parts.get("total", sum(parts.values()))
    if not parts or total < 1:
        raise UsageError(
            "memory_spec_invalid",
            "The memory line gives no usable amount.",
            evidence=line.strip(),
            remedy="Write for example `memory total 1000 mb`, or leave the line out.",
        )
    return round(total)


def atoms_in_deck(text: str) -> int | None:
    """Number of atoms in the deck's only geometry block; None when that cannot be told from the block alone.

    NWChem drops an atom that coincides with another without a word, so the count is compared with the output's.
    """
    counts, inside = [], False
    for line in directives(text):
        if _GEOMETRY.match(line):
            inside = True
            counts.append(0)
        elif inside and line.strip().lower() == "end":
            inside = False
        elif inside and _NOT_AN_ATOM.match(line):
            return None
        elif inside and _ATOM.match(line):
            counts[-1] += 1
    return counts[0] if len(counts) == 1 and counts[0] else None


def rewrite(text: str, ranks: int, memory_mib: int, remedied: Mapping[str, Any] | None = None) -> Rewritten:
    """The deck bound to its attempt: working directories dropped, memory within `memory_mib` for all `ranks`, and what
    the params `remedied` ask for (see `nwchem.remedies`).

    Lines keep their numbers, so that NWChem's "input error at line" still fits the user's file.
    """
    notes: list[str] = []
    asked = remedied or {}
    limit = deck_memory_mib(ranks, memory_mib)
    wanted = requested_memory_mib(text)
    replace = wanted is not None and (wanted > limit or bool(asked.get("memory_of_grant")))
    words = " ".join(word for word in ("noautoz", "noautosym") if asked.get(word))
    lines = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if _DIRECTORY.match(line):
            notes.append(f"deck: `{line.strip()}` overridden, the attempt's directory is used")
            line = _OURS + line
        elif replace and _MEMORY.match(line):
            notes.append(f"deck: `{line.strip()}` replaced by `memory total {limit} mb`, all that {ranks} ranks have")
            line = f"memory total {limit} mb"
        elif words and (match := _GEOMETRY_LINE.match(line)):
            notes.append(f"deck: {words} added to `{line.strip()}`")
            line = f"{match[0].rstrip()} {words}{line[match.end() :]}"
        elif not line.lstrip().startswith("#") and (theory := _theory(line)) and (blocks := _blocks(theory, asked)):
            notes.append(f"deck: `{blocks}` put before `{line.strip()}`")
            line = f"{blocks} {line.lstrip()}"
        lines.append(line)
    if wanted is None:
        notes.append(f"deck: `memory total {limit} mb` added from the grant")
        lines.append(f"memory total {limit} mb")
    return Rewritten("\n".join(lines).rstrip("\n") + "\n", tuple(notes))


def _theory(line: str) -> str | None:
    """The first word of the first task on this line, in lower case; None without one."""
    for part in directives(line):
        match = _TASK.match(part)
        if match and match["what"].strip():
            return match["what"].lower().split()[0]
    return None


def _blocks(theory: str, asked: Mapping[str, Any]) -> str:
    """Blocks, on one line, that a remedied task needs before it: the last word on a setting counts."""
    iterations, steps = asked.get("scf_iterations"), asked.get("max_iterations")
    scf = ["direct"] if asked.get("direct") else []
    if iterations:
        scf.append(f"{'iterations' if theory == 'dft' else 'maxiter'} {iterations}")
    block = {"dft": "dft", "scf": "scf", "mp2": "scf", "direct_mp2": "scf"}.get(theory)
    found = [f"{block}; {'; '.join(scf)}; end;"] if block and scf else []
    return " ".join([*found, *([f"driver; maxiter {steps}; end;"] if steps else [])])


def directives(text: str) -> Iterator[str]:
    """The deck's directives: comments gone, continuation lines joined, `;` taken as a line end."""
    joined = text.replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", " ")
    for line in joined.split("\n"):
        yield from line.split("#", 1)[0].split(";")
