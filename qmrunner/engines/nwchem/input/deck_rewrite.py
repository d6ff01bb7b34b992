"""A user's deck: checked before it is accepted, and rewritten to stay within its attempt's directory and grant.

Text is a deck's bytes as decoded by `nwchem.input.reader.decode`; `nwchem.input.reader` also defines lines and words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile, zip_longest
from typing import Any

from qmrunner.engines.nwchem.input import deck_resume, memory_line, reader
from qmrunner.engines.nwchem.input.memory_line import Asked, Beside
from qmrunner.engines.nwchem.input.reader import Line, Statement
from qmrunner.engines.nwchem.resources import DECK_MIB_PER_RANK, deck_memory_mib
from qmrunner.errors import QmrunnerError, UsageError

# Words of a geometry block that are not atoms; with them the lines of the block are not its atoms (geom_input.F).
_NOT_AN_ATOM = frozenset(
    ["symmetry", "load", "file", "source", "carfile", "system", "zcoord", "zmt", "zmat", "zmatr", "zmatri", "zmatrix"]
)
_NO_NUCLEUS = ("bq", "x")
# Directives that NWChem searches for in the whole deck before it reads it; qmrunner may have added a memory line.
_FIRST_OF_ALL = frozenset(["memory", "start", "restart", "continue", *reader.FOLDERS])
_OURS = "# qmrunner: "
_LONGEST_COMMENT = 500


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A deck as it will run (as decoded by `reader.decode`), and a note for every line that is not the user's. `beside`
    are included files that differ from the submitted ones, by name.
    """

    text: str
    notes: tuple[str, ...]
    beside: Mapping[str, str] = field(default_factory=dict)


def _nothing(_name: str) -> None:
    """A deck without other files."""


def check_deck(text: str, beside: Beside = _nothing) -> Asked | None:
    """Refuse a deck that cannot compute anything. Returns the request of its memory line, None without one.

    Raises UsageError: `no_task` when the deck is empty or has no task line (NWChem would exit 0 having done nothing),
    `input_error` when it is not text, or a quote that is not closed hides its tasks, `memory_spec_invalid` when NWChem
    would stop at its memory line. `beside` has the files that the deck may include.
    """
    if "\0" in text:
        raise UsageError("input_error", "The deck is not a text file.", remedy="Submit the NWChem input as plain text.")
    if not text.strip():
        raise UsageError("no_task", "The deck is empty.", remedy="Submit an NWChem input with at least one task line.")
    if not tasks(text) and not includes_files(text):
        _refuse_open_quote(text)
        last = re.split(r"[\r\n]+", text.strip(" \t\r\n"))[-1].strip(" \t")
        raise UsageError(
            "no_task",
            "The deck has no task line: NWChem would read it, compute nothing and report success.",
            evidence="last line: "
            + "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in last),
            remedy="Add a line such as `task dft energy`.",
        )
    return memory_line.asked(text, beside)


def _refuse_open_quote(text: str) -> None:
    statement = next((statement for statement in reader.statements(reader.encode(text)) if statement.broken), None)
    if statement is not None:
        raise UsageError(
            "input_error",
            "A double quote is not closed, and NWChem reads nothing after it.",
            evidence=f"line {statement.line}: {reader.shown(statement.text.strip())}",
            remedy="Close it on its line. A `;` or `#` ends a text in quotes, too: write `\\;` or `\\#`.",
        )


def tasks(text: str) -> tuple[str, ...]:
    """The request of each task line, in order, in lower case: ``("dft optimize", "dft property")``."""
    found = (statement for statement in _statements(text) if statement.directive == "task")
    return tuple(" ".join(map(reader.lower, statement.words[1:])) for statement in found)


def unused(text: str) -> tuple[tuple[int, str], ...]:
    """Directives after the last task, with their line: NWChem reads them, but no task uses them. Empty without a
    task."""
    statements = list(_statements(text))
    tasks = (at for at, statement in enumerate(statements) if statement.directive == "task")
    behind = statements[max(tasks, default=len(statements)) + 1 :]
    unread = (statement for statement in behind if statement.words and statement.directive not in _FIRST_OF_ALL)
    return tuple((statement.line, reader.shown(statement.text).strip()) for statement in unread)


def includes_files(text: str) -> bool:
    """Whether the deck includes other files, so that its own lines are only a part of it."""
    return any(line.included is not None for line in reader.read(reader.encode(text)))


def atoms_in_deck(text: str) -> int | None:
    """Number of atoms in the deck's only geometry block; None when the block alone does not show it.

    NWChem silently drops an atom that coincides with another, so the count is compared with the output's.
    """
    count, blocks, inside = 0, 0, False
    if includes_files(text):
        return None
    for statement in _statements(text):
        if statement.directive == "geometry":
            blocks, inside = blocks + 1, True
        elif inside and statement.directive == "end":
            inside = False
        elif inside and (statement.directive in _NOT_AN_ATOM or statement.directive.startswith(_NO_NUCLEUS)):
            return None
        elif inside and statement.directive:
            count += 1
    return count if blocks == 1 and count and not inside else None


def rewrite(
    text: str,
    ranks: int,
    memory_mib: int,
    remedied: Mapping[str, Any] | None = None,
    beside: Beside = _nothing,
    resume: Sequence[str] = (),
) -> Rewritten:
    """The deck bound to its attempt: working directories dropped, memory within `memory_mib` for all `ranks`, and the
    changes that the params `remedied` request (see `nwchem.remedies`). `beside` has the files that the deck may
    include. `resume`: the statements with which a deck that `deck_resume.can_resume` begins when it resumes.

    The deck's own memory line stays unchanged, unless a remedy changes it or versions of NWChem read it differently.
    Only whole lines with their continuations are replaced, and lines keep their numbers, so that NWChem's "input error
    at line" matches the user's file. Raises QmrunnerError: `never_fits` when the line requests more than is granted,
    `deck_rewrite_failed` if NWChem would read the result differently than the deck with these changes.
    """
    params = remedied or {}
    asked = memory_line.asked(text, beside)
    put = _memory_line(asked, ranks, deck_memory_mib(ranks, memory_mib), params.get("memory_arena"))
    if put is None or asked is None or asked.file is None:
        return _rewritten(text, put, params, resume)
    deck, data = _rewritten(text, None, params), beside(asked.file) or b""
    changed = _rewritten(reader.decode(data), put, {})
    notes = (*deck.notes, *(f"{asked.file}: {note}" for note in changed.notes))
    return Rewritten(deck.text, notes, {asked.file: changed.text})


def _rewritten(text: str, put: str | None, params: Mapping[str, Any], resume: Sequence[str] = ()) -> Rewritten:
    """The deck with the memory line `put`, which replaces its memory line or is added; None leaves memory unchanged."""
    data = reader.encode(text)
    lines = reader.read(data)
    own = memory_line.first(lines)
    change = _Change(put, own, params, [], tuple(resume), deck_resume.geometry_block(lines) if resume else ())
    changed = [change.line(line) for line in lines]
    if resume and not any(statement.directive == "start" for line in lines for statement in line.statements):
        changed = _with_first(resume, lines, changed)
    result, expected = _put(data, lines, changed), _said(lines, changed)
    if put is not None and own is None:
        change.notes.append(f"deck: `{put}` added from the grant")
        added = result + put.encode() + b"\n"
        if _said(reader.read(added)) == [*expected, put]:
            result, expected = added, [*expected, put]
        else:
            # NWChem does not read that far, or would join it to the last line.
            changed = _with_first([put], lines, changed)
            result, expected = _put(data, lines, changed), _said(lines, changed)
    if _said(reader.read(result)) != expected:
        raise QmrunnerError(
            "deck_rewrite_failed",
            "The rewritten deck would not run like the checked one.",
            remedy="Write each directive on a separate line, and report this with the deck.",
        )
    return Rewritten(reader.decode(result), tuple(change.notes))


def _memory_line(asked: Asked | None, ranks: int, limit_mib: int, raised: str | None) -> str | None:
    """The memory line that the deck gets; None to keep its own. `raised` is set by a remedy."""
    if asked is None:
        usual = min(limit_mib, DECK_MIB_PER_RANK)
        return memory_line.usual(usual).raised(raised, limit_mib) if raised else f"memory total {limit_mib} mb"
    if asked.total_mib > limit_mib:
        raise QmrunnerError(
            "never_fits",
            f"its memory line requests {asked.total_mib} MiB on each of {ranks} rank(s), granted are {limit_mib}",
            remedy="submit the deck again, so that the requested memory is reserved",
        )
    if raised:
        return asked.raised(raised, limit_mib)
    return None if asked.whole else asked.written()


# The replacement of a line: statements, or a comment if there are none; None if the line stays unchanged.
_Said = tuple[list[str], str] | None


@dataclass(frozen=True, slots=True)
class _Change:
    """The changes in the lines of one deck, and their notes. `memory` replaces `own`; `dropped` are left out, and
    `start` is replaced, where the deck resumes by the statements `resume`."""

    memory: str | None
    own: Statement | None
    asked: Mapping[str, Any]
    notes: list[str]
    resume: tuple[str, ...] = ()
    dropped: tuple[Statement, ...] = ()

    def line(self, line: Line) -> _Said:
        """The replacement of `line`; None if it stays unchanged."""
        if reader.sets_a_folder(line):
            was = reader.shown(line.statements[0].text.strip())
            self.notes.append(f"deck: `{was}` overridden, the attempt's directory is used")
            return [], _OURS + was
        rewritten = [part for statement in line.statements for part in self._statement(statement)]
        return None if rewritten == [statement.text for statement in line.statements] else (rewritten, "")

    def _statement(self, statement: Statement) -> list[str]:
        was = reader.shown(statement.text.strip())
        words = " ".join(word for word in ("noautoz", "noautosym") if self.asked.get(word))
        if statement.broken:
            return [statement.text]
        if any(statement is left_out for left_out in self.dropped):
            return []
        if self.resume and statement.directive == "start":
            self.notes.append(f"deck: `{was}` replaced by `{'; '.join(self.resume)}`")
            return [*self.resume]
        if statement is self.own and self.memory:
            self.notes.append(f"deck: `{was}` replaced by `{self.memory}`")
            return [self.memory]
        if statement.directive == "geometry" and words:
            self.notes.append(f"deck: {words} added to `{was}`")
            return [f"{statement.text.rstrip()} {words}"]
        if statement.directive == "task" and len(statement.words) > 1:
            blocks = _blocks(reader.lower(statement.words[1]), self.asked)
            if blocks:
                self.notes.append(f"deck: `{'; '.join(blocks)}` put before `{was}`")
            return [*blocks, statement.text]
        return [statement.text]


def _with_first(statements: Sequence[str], lines: list[Line], changed: list[_Said]) -> list[_Said]:
    """The changes with `statements` before all others."""
    at = next((number for number, line in enumerate(lines) if line.statements), None)
    if at is None:
        return changed
    kept, comment = changed[at] or ([other.text for other in lines[at].statements], "")
    return [*changed[:at], ([*statements, *kept], comment), *changed[at + 1 :]]


def _said(lines: list[Line], changed: Sequence[_Said] = ()) -> list[str]:
    """The statements that NWChem reads, with the changes applied."""
    found: list[str] = []
    for line, replacement in zip_longest(lines, changed):
        texts = [statement.text for statement in line.statements] if replacement is None else replacement[0]
        found += [f"include {line.included}"] if line.included is not None else [text.strip(" \t") for text in texts]
    return found


def _put(data: bytes, lines: list[Line], changed: list[_Said]) -> bytes:
    """The deck with the changes applied, and a line end after its last line."""
    out: list[bytes] = []
    at = 0
    for line, replacement in zip(lines, changed, strict=True):
        if replacement is not None:
            replaced = _in_place(data[line.start : line.end], line.last - line.first, *replacement)
            out += [data[at : line.start], replaced]
            at = line.end
    result = b"".join([*out, data[at:]])
    return result if result.endswith((b"\n", b"\r")) else result + b"\n"


def _in_place(was: bytes, continuations: int, statements: list[str], comment: str) -> bytes:
    """A line that replaces a number of physical lines. It comes last, because NWChem names the last one in an error;
    the others become empty comments."""
    end = b"\r\n" if was.endswith(b"\r\n") else b"\n"
    plain = "".join(character if character.isprintable() else "?" for character in comment)
    text = reader.written(statements) if statements else plain[:_LONGEST_COMMENT].rstrip("\\ ").encode()
    return (b"#" + end) * continuations + text + end


def _blocks(theory: str, asked: Mapping[str, Any]) -> list[str]:
    """Blocks to insert before a task with remedies: the last value of a setting counts."""
    iterations, steps = asked.get("scf_iterations"), asked.get("max_iterations")
    scf = ["direct"] if asked.get("direct") else []
    if iterations:
        scf.append(f"{'iterations' if theory == 'dft' else 'maxiter'} {iterations}")
    block = {"dft": "dft", "scf": "scf", "mp2": "scf", "direct_mp2": "scf"}.get(theory)
    found = [block, *scf, "end"] if block and scf else []
    return [*found, *(["driver", f"maxiter {steps}", "end"] if steps else [])]


def _statements(text: str) -> Iterator[Statement]:
    """The statements of the deck itself that NWChem reads: it stops at an unclosed quote."""
    return takewhile(lambda statement: not statement.broken, reader.statements(reader.encode(text)))
