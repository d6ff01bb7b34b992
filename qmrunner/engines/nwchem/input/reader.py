"""Reads the lines of a deck as NWChem's own input reader does: the only reader of decks in this project.

Facts of NWChem 7.0.2, the same up to 7.3, and compared with it run by run (`tests/engines/test_nwchem_reader.py`):

- A record ends at LF, CR LF or CR. It is read into the 1024 columns that a line and its continuations share. The rest
of a longer record is dropped up to the next LF, past any CR. - A line is joined to the next one when its last
character, apart from blanks and tabs, is a backslash. So a backslash before a comment does not continue the line, and
one after a comment does. - Joining comes first, then `#` begins a comment, then `;` separates statements, also within
quotes. A backslash before either removes that meaning. - Blanks and tabs separate words; double quotes group them,
and `\\"` is a quote within them. All other bytes are
  letters of words.
- `include` counts in the first seven columns only, in any case; column 8 is skipped, the rest is the file's name.
- A line of `.` or `*` or `eof` alone ends the file. A line that the file's end cuts off after its backslash is dropped.

Text is decoded as latin-1, one character per byte, so that every byte is preserved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COLUMNS = 1024
# NWChem keeps the positions of the statements of one line in an array of this size, without a bounds check.
MOST_STATEMENTS = 512
# Directives that set a directory. The rewrite drops them if they are alone on a line.
FOLDERS = ("scratch_dir", "permanent_dir")
_BLANKS = " \t"
_FILE_NAME = 255
_LOWER = {ord(capital): ord(capital) + 32 for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_RECORD = re.compile(r"[^\r\n]*")
_WORD = re.compile(r"[^ \t]+")


@dataclass(frozen=True, slots=True)
class Statement:
    """One directive: its line number as NWChem counts, its text, and its words without their quotes.

    `broken`: a quote is not closed, so NWChem stops reading there; the words are then all words of the statement.
    """

    line: int
    text: str
    words: tuple[str, ...]
    broken: bool = False

    @property
    def directive(self) -> str:
        """The first word in lower case; empty if there is none."""
        return lower(self.words[0]) if self.words else ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its continuations: physical lines `first` to `last`, from 1; bytes `start` to `end`, the end of the
    last one among them. `included` is the file that it includes; without that and without statements, the whole line is
    a comment.

    `cut`: it is longer than NWChem reads. `crowded`: it has more statements than NWChem has room for.
    """

    first: int
    last: int
    start: int
    end: int
    statements: tuple[Statement, ...]
    included: str | None = None
    cut: bool = False
    crowded: bool = False


def sets_a_folder(line: Line) -> bool:
    """Whether a line only sets a directory, so that the rewrite may drop it.

    A line with an unclosed quote does not count: NWChem stops reading there, and without the line it would continue.
    """
    statements = line.statements
    return len(statements) == 1 and statements[0].directive in FOLDERS and not statements[0].broken


def read(data: bytes) -> list[Line]:
    """The lines of a deck up to the end of the file as NWChem sees it, without blank lines and comments of one line."""
    return list(_lines(_Records(data.decode("latin-1"))))


def statements(data: bytes) -> Iterator[Statement]:
    """The statements of a deck in order; without those of included files."""
    for line in read(data):
        yield from line.statements


def decode(data: bytes) -> str:
    """A deck as text: UTF-8, with other bytes preserved so that `encode` restores them."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes from which `decode` made the text."""
    return text.encode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    """The text of a statement or word, readable for users."""
    return text.encode("latin-1").decode("utf-8", "replace")


def written(statements: Sequence[str]) -> bytes:
    """One physical line that NWChem reads as these statements."""
    parts = [text.replace("#", "\\#").replace(";", "\\;") for text in statements]
    line = " ; ".join(parts).rstrip(_BLANKS)
    # A comment keeps a backslash at the end from continuing the line.
    return (f"{line} #" if line.endswith("\\") else line).encode("latin-1")


def lower(word: str) -> str:
    """In lower case and without trailing blanks, as NWChem compares words; only ASCII letters change."""
    return word.translate(_LOWER).rstrip(_BLANKS)


class _Records:
    """The records of a file, as the Fortran runtime reads them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.number = 0
        self.cut = False

    def more(self) -> bool:
        return self.at < len(self.text)

    def take(self, columns: int) -> str:
        """The next record, cut to `columns`; `cut`: whether anything was lost."""
        limit = min(len(self.text), self.at + columns)
        match = _RECORD.match(self.text, self.at, limit)
        end = match.end() if match else self.at
        found = self.text[self.at : end]
        if end < limit:
            self.at = end + (2 if self.text.startswith("\r\n", end) else 1)
        elif len(found) == columns:
            newline = self.text.find("\n", end)
            self.at = len(self.text) if newline < 0 else newline + 1
            self.cut = self.cut or bool(self.text[end : self.at].strip(" \t\r\n"))
        else:
            self.at = end
        self.number += 1
        return found


def _lines(records: _Records) -> Iterator[Line]:
    held, first, start = "", 0, 0
    while records.more():
        if not held:
            first, start, records.cut = records.number + 1, records.at, False
        held = (held + records.take(COLUMNS - len(held))).rstrip(_BLANKS)
        if held in (".", "*") or lower(held) == "eof":
            return
        if lower(held[:7]) == "include":
            name = held[8 : 8 + _FILE_NAME].rstrip(" ")
            yield Line(first, records.number, start, records.at, (), name, records.cut)
            held = ""
        elif held.endswith("\\"):
            # A blank replaces the backslash, so that columns do not shift.
            held = held[:-1] + " "
        elif held:
            text, comment = _unescaped(held, "#", 0)
            body = text[:comment]
            if body.strip(_BLANKS):
                parts = _parts(body)
                found = tuple(_statement(first, part) for part in parts)
                # The dropped part of a comment does not matter.
                cut = records.cut and comment is None
                crowded = len(parts) > MOST_STATEMENTS
                yield Line(first, records.number, start, records.at, found, None, cut, crowded)
            elif records.number > first:
                yield Line(first, records.number, start, records.at, ())
            held = ""


def _parts(line: str) -> list[str]:
    """The statements of a line, `\\;` turned into `;`. An empty rest after the last `;` is not a statement."""
    parts, start = [], 0
    while True:
        line, at = _unescaped(line, ";", start)
        if at is None:
            break
        parts.append(line[start:at])
        start = at + 1
    if line[start:].strip(_BLANKS) or not parts:
        parts.append(line[start:])
    return parts


def _unescaped(line: str, sign: str, start: int) -> tuple[str, int | None]:
    """The line without the backslashes that quote `sign`, and the position of the first unquoted `sign` from `start`
    on. A quoted sign does not quote, nor does the character before it."""
    if line.find(sign, start) < 0:
        return line, None
    at, before = start, " "
    while at < len(line):
        if line[at] != sign:
            before = line[at]
            at += 1
        elif before != "\\":
            return line, at
        else:
            line = line[: at - 1] + line[at:]
            before = " "
    return line, None


def _statement(number: int, text: str) -> Statement:
    words: list[str] = []
    line, at = text, 0
    while True:
        while at < len(line) and line[at] in _BLANKS:
            at += 1
        if at >= len(line):
            return Statement(number, text, tuple(words))
        if line[at] == '"':
            line, end = _closing_quote(line, at + 1)
            if end is None:
                return Statement(number, text, (*words, *line[at:].split()), broken=True)
            words.append(line[at + 1 : end])
            at = end + 1
        else:
            match = _WORD.match(line, at)
            words.append(match[0] if match else "")
            at += len(words[-1])


def _closing_quote(line: str, at: int) -> tuple[str, int | None]:
    """The line without the backslashes that quote a quote, and the position where the quote ends."""
    while at < len(line):
        if line[at] == '"' and line[at - 1] != "\\":
            return line, at
        if line[at] == '"':
            line = line[: at - 1] + line[at:]
        else:
            at += 1
    return line, None
