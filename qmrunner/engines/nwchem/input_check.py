"""Checks that a deck stays in its folder and starts no program, as NWChem would read it (`nwchem.input.reader`).

If the kernel confines engines, the check refuses only what the kernel would stop, and reports it before the job runs:
commands, connections, files outside the folder, a submitted database. If only this check confines the run (`strict`),
only directives that are known to be harmless pass (`nwchem.input.allow_list`). What NWChem 7.0.2 does with refused
decks: `tests/engines/test_confinement_real.py`, `test_canaries.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile

from qmrunner.engines.input_check import Finding, escapes, words
from qmrunner.engines.nwchem.input import reader
from qmrunner.engines.nwchem.input.allow_list import AllowList
from qmrunner.engines.nwchem.input.reader import FOLDERS, Line, Statement, lower

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_END = re.compile(rb"\r\n|\r|\n")
# They part pages in editors; NWChem takes them for letters.
_PAGES = re.compile(rb"[\x0b\x0c]")
_INCLUDE = re.compile(r"(?:^|[\r\n])(include.?([^\r\n]*))", re.IGNORECASE)
_RUN_NAME = re.compile(r"(?!\.+$)[\w.+(),=@-]{1,64}", re.ASCII)
_RUNS = ("start", "restart", "continue")
# Words that a task line may not have, and why.
_TASKS = {
    "shell": "runs a command",
    "python": "runs a program",
    "debug": "starts a debugger in a terminal",
}
_NETWORK = "opens a network connection"
_DIRECTIVES = {
    "python": ("runs a program", "write the deck without a python block"),
    "speech": (_NETWORK, "leave it out"),
    "server": (_NETWORK, "leave it out: no program outside can read the run"),
}
_DATABASE = "opens a submitted file as its database"
_ORBITALS = "submit the orbitals (.movecs) and name them by `vectors input`"
_HAND_IN = "submit the file with the deck (--with FILE), and name it without its folder"
_LEAVE_OUT = "leave it out: the attempt's own folder is used"
_DRIVER = "drive the geometry with NWChem's own `driver`"


def findings(deck: str, files: Mapping[str, bytes], *, strict: bool = False) -> list[Finding]:
    """Parts of the deck called `deck`, and of the files submitted with it, that would leave the folder or start a
    program.

    `files` holds all of them by name, the deck among them. `strict`: only this check confines the run, so everything
    that is not known to be harmless is refused, too.
    """
    check = _Check(deck, files, AllowList() if strict else None)
    found = check.of_deck()
    for name, data in files.items():
        if name.endswith(".db"):
            reason = "a database of NWChem contains file names"
            found.append(Finding(name, None, name, reason, _ORBITALS))
        elif name != deck and name not in check.taken:
            found += _of_other(name, data, strict)
    return found


def _of_other(name: str, data: bytes, strict: bool) -> list[Finding]:
    """Check a structure, orbitals and so on: NWChem may read them with its input reader, which follows `include`
    anywhere."""
    text = data.decode("latin-1")
    found = []
    for match in _INCLUDE.finditer(text):
        if strict or any(escapes(word) for word in words(match[2])):
            before = text[: match.start(1)]
            number = before.count("\n") + before.count("\r") - before.count("\r\n") + 1
            remedy = "put that file's content in its place"
            found.append(Finding(name, number, reader.shown(match[1]), "includes another file", remedy))
    return found


class _Check:
    """One check of a deck and the files it includes, in the order in which NWChem reads them."""

    def __init__(self, deck: str, files: Mapping[str, bytes], modules: AllowList | None) -> None:
        self.deck, self.files, self.modules = deck, files, modules
        self.taken: set[str] = set()
        self._found: list[Finding] = []
        self._refused: set[tuple[str, int]] = set()
        self._task_seen = False

    def of_deck(self) -> list[Finding]:
        self._file(self.deck, top=True)
        return self._found

    def _file(self, name: str, *, top: bool) -> None:
        data = self.files[name]
        lines = reader.read(data)
        self._control(name, data, lines)
        for line in lines:
            self._line(name, line, top=top)
            if line.first < line.last and (name, line.first) not in self._refused:
                self._parts(name, line, data[line.start : line.end])

    def _control(self, name: str, data: bytes, lines: list[Line]) -> None:
        """Refuse control characters: they command terminals or hide text. Where the kernel confines, those between
        pages pass as NWChem takes them, for letters: in comments, titles, texts and tags, but not before a directive.
        """
        read = (statement for line in lines for statement in line.statements)
        begins = {statement.line for statement in read if _CONTROL.match(statement.directive.encode("latin-1"))}
        for number, physical in enumerate(_END.split(data), start=1):
            parts = _PAGES.split(physical)
            # Builds by other compilers may end a line at the end of a page.
            alone = (statement for part in parts for statement in reader.statements(part))
            if len(parts) == 1 and not _CONTROL.search(physical):
                continue
            hides = self.modules is not None or any(map(_CONTROL.search, parts))
            if hides or any(_of_statement(statement, self.files) for statement in alone):
                reason = "holds a control character"
            elif number in begins:
                reason = "begins with a control character, which NWChem takes for a letter"
            else:
                continue
            self._add(name, number, physical.decode("latin-1"), reason, "write the line again, as plain text")
            return

    def _line(self, name: str, line: Line, *, top: bool) -> None:
        if line.cut:
            reason = f"is longer than {reader.COLUMNS} columns, and NWChem cuts it"
            self._add(name, line.first, _text(line), reason, "break it into several directives")
        if line.crowded:
            reason = f"has more than {reader.MOST_STATEMENTS} directives, and NWChem has no room for them"
            self._add(name, line.first, _text(line), reason, "use several lines")
        if line.included is not None:
            self._include(name, line, line.included, top=top)
        for statement in line.statements:
            # The rewrite drops such a line of the deck itself (`deck.rewrite`).
            dropped = top and reader.sets_a_folder(line)
            problem = None if dropped else _of_statement(statement, self.files)
            if problem is None and self.modules is not None:
                problem = self.modules.refused(statement)
            if problem:
                self._add(name, statement.line, statement.text, *problem)
            self._task_seen = self._task_seen or statement.directive == "task"

    def _parts(self, name: str, line: Line, data: bytes) -> None:
        """Find parts of the physical lines of a continued line that would be refused if these were separate: a build by
        another compiler may end lines elsewhere, and users may not notice that a comment continues."""
        parts = [part.rstrip(b" \t\\") for part in _END.split(data)]
        if not line.statements:
            above = len(list(takewhile(lambda part: part.lstrip().startswith(b"#"), parts)))
            parts = [*[b""] * above, b" \\\n".join(part for part in parts[above:] if part)]
        for number, part in enumerate(parts, start=line.first):
            for statement in reader.statements(part):
                problem = None if statement.directive in FOLDERS else _of_statement(statement, self.files)
                if problem:
                    self._add(name, number, statement.text, *problem)

    def _include(self, name: str, line: Line, included: str, *, top: bool) -> None:
        text = f"include {included}"
        if included not in self.files or included == self.deck:
            self._add(name, line.first, text, "includes a file that was not submitted", _HAND_IN)
        elif not top or self._task_seen:
            # By then the run may have overwritten the file that was checked.
            reason = "includes a file after a task or from an included file"
            self._add(name, line.first, text, reason, "include it above all tasks")
        else:
            self.taken.add(included)
            self._file(included, top=False)

    def _add(self, name: str, number: int, text: str, reason: str, remedy: str) -> None:
        self._refused.add((name, number))
        self._found.append(Finding(name, number, reader.shown(text), reason, remedy))


def _text(line: Line) -> str:
    return "; ".join(statement.text.strip() for statement in line.statements)


def _of_statement(statement: Statement, files: Mapping[str, bytes]) -> tuple[str, str] | None:
    """The reason and remedy for refusing one statement, wherever it is; None when it is allowed."""
    directive, lower_words = statement.directive, [lower(word.strip()) for word in statement.words]
    # Within a block it may be the tag of an atom, whose line can name a file; a single word after it cannot.
    if directive == "title" and len(lower_words) <= 2:
        return None
    if directive == "speech" and lower_words[1:] == ["off"]:
        return None
    if directive in _DIRECTIVES:
        return _DIRECTIVES[directive]
    if directive == "task":
        for word, why in _TASKS.items():
            if word in lower_words:
                return why, "leave this task out"
    if "socket" in lower_words or "ipi_client" in lower_words or (directive == "set" and _connects(lower_words[1:2])):
        return _NETWORK, _DRIVER
    if directive in FOLDERS:
        return "sets a directory", _LEAVE_OUT
    if directive.startswith("include"):
        return "includes a file", "write `include NAME` at the very start of a line"
    if directive in _RUNS:
        return _of_run(statement, files)
    if any(escapes(part) for word in statement.words for part in words(word)):
        remedy = "put the title in quotes" if directive == "title" else _HAND_IN
        return "names a file outside the job's folder", remedy
    if directive == "ecce_print" and any(word.rstrip() in files for word in statement.words[1:]):
        return "overwrites a submitted file", "give the report another name, such as ecce.out"
    return None


def _connects(key: list[str]) -> bool:
    return any(word in name for name in key for word in ("socket", "speech", "server"))


def _of_run(statement: Statement, files: Mapping[str, bytes]) -> tuple[str, str] | None:
    """`start` or `restart`: the run's name begins the name of every file, and of arguments of shell commands."""
    named = statement.words[1:]
    if not all(_RUN_NAME.fullmatch(word) and not any(map(escapes, words(word))) for word in named):
        return "gives the run a name that is not a plain word", "use letters, digits, '-', '_' and '.'"
    if any(lower(word) == "rtdb" for word in named) and any(word in files for word in named):
        return _DATABASE, _ORBITALS
    return None
