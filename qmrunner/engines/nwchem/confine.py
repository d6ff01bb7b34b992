"""Whether a deck stays in its folder. NWChem opens files by name in over a hundred places and has two ways to run
commands, so every word of the deck is looked at instead of every place (see `engines.confine`).

Checked against 7.0.2 (`tests/engines/test_confinement_real.py`): ``"task" "shell "`` runs its command, continued and
behind ``;``, too; ``includeX/file`` takes the file in; beyond column 1024 a line is cut, in the middle of a word, too;
a carriage return alone ends a line; ``#`` begins a comment within quotes, too, but not behind a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from qmrunner.engines.confine import Finding, escapes, lines_of, words

# NWChem reads 1024 columns of a line and all its continuations together.
_LONGEST_LINE = 1000
_COMMENT = re.compile(r"(?<!\\)#.*")
_CONTINUED = re.compile(r"\\[ \t]*$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_INCLUDE = re.compile(r"\W*include", re.IGNORECASE)
_PLAIN_INCLUDE = re.compile(r"include[ \t](\S+)[ \t]*", re.IGNORECASE)
# `deck.rewrite` comments these lines out; behind a `;` or in an included file it does not see them.
_DROPPED = re.compile(r"\s*(scratch|permanent)_dir\b", re.IGNORECASE)
_RUN_NAME = re.compile(r"\w[\w.+-]{0,63}", re.ASCII)
_FOLDERS = ("scratch_dir", "permanent_dir")
_RUNS = ("start", "restart", "continue")
# What a task line may not ask for, and why.
_TASKS = {
    "shell": "runs a command",
    "python": "runs a program",
    "debug": "starts a debugger in a terminal",
}
_DIRECTIVES = {
    "python": ("runs a program", "write the deck without a python block"),
    "speech": ("opens a network connection", "leave it out"),
    "ecce_print": ("writes a copy of the run for a program that is no more", "leave it out"),
}
_HAND_IN = "hand the file in with the deck (--with FILE), and name it without its folder"
_LEAVE_OUT = "leave it out: the attempt's own folder is used"


def findings(deck: str, files: Mapping[str, bytes]) -> list[Finding]:
    """What of the deck called `deck`, and of the files handed in with it, would leave the folder or run something.

    `files` holds all of them by name, the deck among them.
    """
    taken, found = _of_deck(deck, files[deck], files, top=True)
    for name, data in files.items():
        if name == deck:
            continue
        if name in taken:
            found += _of_deck(name, data, files, top=False)[1]
        else:
            found += _of_other(name, data)
    return found


def _of_other(name: str, data: bytes) -> list[Finding]:
    """A structure, orbitals …: NWChem may read them with its input reader, which follows `include` anywhere."""
    if name.endswith(".db"):
        remedy = "hand in the orbitals (.movecs) and name them by `vectors input`"
        return [Finding(name, None, name, "a database of NWChem holds names of files of its own", remedy)]
    return [
        Finding(name, number, line, "takes in another file", "put that file's content in its place")
        for number, line in enumerate(lines_of(data), start=1)
        if _INCLUDE.match(line)
    ]


def _of_deck(name: str, data: bytes, files: Mapping[str, bytes], *, top: bool) -> tuple[frozenset[str], list[Finding]]:
    """The files that the deck includes, and its findings."""
    found: list[Finding] = []
    taken: set[str] = set()

    def add(number: int, text: str, reason: str, remedy: str) -> None:
        found.append(Finding(name, number, text, reason, remedy))

    physical = lines_of(data)
    for number, line in enumerate(physical, start=1):
        if _CONTROL.search(line):
            add(number, line, "holds a control character", "write the line anew, as plain text")
    for number, line in enumerate(physical, start=1):
        if not _INCLUDE.match(line):
            continue
        plain = _PLAIN_INCLUDE.fullmatch(line)
        if plain is None or plain[1] not in files or plain[1] == name:
            add(number, line, "takes in a file that was not handed in", _HAND_IN)
        elif not top or _after_a_task(physical[: number - 1]):
            # By then the run may have written over the file that was looked at.
            add(number, line, "takes in a file below a task or from within another one", "include it above all tasks")
        else:
            taken.add(plain[1])
    for number, text in _logical(physical):
        if len(text) > _LONGEST_LINE:
            add(number, text, f"is longer than {_LONGEST_LINE} columns, and NWChem cuts it", "break the line with \\")
        for statement in text.split(";"):
            problem = _of_statement(statement, files, top and _DROPPED.match(text) is not None)
            if problem:
                add(number, statement, *problem)
    return frozenset(taken), found


def _logical(physical: list[str]) -> Iterator[tuple[int, str]]:
    """Lines without their comments, those that a backslash continues put together; with the number of the first.

    NWChem joins before it drops comments, so it puts more into comments than is dropped here, never less.
    """
    start, held = 1, ""
    for number, line in enumerate(physical, start=1):
        text = _COMMENT.sub("", line)
        start = start if held else number
        continued = _CONTINUED.search(text)
        held += text[: continued.start()] + " " if continued else text
        if not continued:
            yield start, held
            held = ""
    if held:
        yield start, held


def _after_a_task(physical: list[str]) -> bool:
    return any("task" in (word.lower() for word in words(text)) for _, text in _logical(physical))


def _of_statement(statement: str, files: Mapping[str, bytes], dropped: bool) -> tuple[str, str] | None:
    """The reason and remedy for what is wrong with one statement; None when nothing is."""
    said = [word.lower() for word in words(statement)]
    if not said or dropped:
        return None
    if said[0] in _DIRECTIVES:
        return _DIRECTIVES[said[0]]
    if "task" in said:
        for word, why in _TASKS.items():
            if word in said:
                return why, "leave this task out"
    if any("socket" in word for word in said):
        return "opens a network connection", "drive the geometry with NWChem's own `driver`"
    if said[0] in _FOLDERS:
        return "sets a directory", _LEAVE_OUT
    if said[0] in _RUNS:
        return _of_run(statement, files)
    if any(escapes(word) for word in words(statement) if word != "/" or said[0] != "title"):
        return "names a file outside the job's folder", _HAND_IN
    return None


def _of_run(statement: str, files: Mapping[str, bytes]) -> tuple[str, str] | None:
    """`start` or `restart`: the run's name begins the name of every file, and of arguments to a shell."""
    named = [word.strip('"') for word in statement.split()[1:]]
    if not all(_RUN_NAME.fullmatch(word) for word in named):
        return "names the run by more than a plain word", "use letters, digits, '-', '_' and '.'"
    if any(word in files for word in named):
        return "opens a file that was handed in as its database", "hand in the orbitals (.movecs) instead"
    return None
