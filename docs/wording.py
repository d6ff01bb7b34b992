"""Find words that the project does not use: `python docs/wording.py` (part of `make check`).

Reads comments, docstrings and texts of the program, the documentation, and the names and docstrings of the tests.
Prints file, line, the word and a better one; the exit status is 1 when it found one. Rules: CONTRIBUTING.md. Terms:
docs/glossary.md. `ALLOWED` names every exception with its reason.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent

# A word or phrase (a regular expression; a space also matches a line break or the underscore of a name), a better one.
WORDS = {
    "whoever|whosoever": "name the component or the user",
    "somebody|someone|anybody|anyone": "name the component or the user",
    "nobody": "no process, no worker, no user",
    "he who|those who|who is it": "name the component or the user",
    "told": "reported, printed, passed, known",
    "tell|tells|telling": "report, print, show, distinguish",
    "said": "reported, printed, named",
    "says|saying": "states, reports, prints, shows",
    "anew": "again, from the start",
    "afresh": "again, from the start",
    r"(?<!out\s)of (?:its|their|his|our|your) own": "its own THING, a separate THING",
    "for want of": "because THING is missing",
    "at hand": "available, present",
    "in hand": "active, running",
    "in mid": "during",
    "(?:stand|stands|stood|standing) still|stand-?still": "stall, stop, hang",
    "(?:let|lets|letting) go": "release, drop",
    "(?:go|goes|going|went|gone) on": "continue, keep running, resume, happen",
    "(?:come|comes|came) of": "result, outcome",
    "(?:hand|hands|handed|handing) in": "submit",
    "(?:is|are|was|were) to (?:be|have|do|go|happen)": "must, should, will",
    "harms nobody": "changes nothing, is harmless",
    "in nobody's hands": "claimed by no attempt",
    "ere|hitherto|thereof|whereof|whence|whither": "plain English",
}

# Names that the glossary replaced, as names of classes, functions, variables and arguments.
NAMES = {
    "one": "the noun: step, path, conformer",
    "told": "reported, message, fields",
    "said": "message, text",
    "somebody": "the noun",
    "Story": "ProgressLog",
    "Pilot": "Lifetime",
    "LiveSet": "ActiveAttempts",
    "Conclusions": "AttemptCommitter",
    "Beat": "Heartbeat",
    "LeftForSuccessor": "CommitDeferred",
    "Lab": "Harness",
    "hand_in": "submit",
    "put_off": "defer",
    "bury": "declare_lost",
    "condemn": "declare_lost",
    "autopsy": "hang_report",
    "misfits": "unschedulable",
    "doorbell": "notify",
    "diary": "stderr log",
}


@dataclass(frozen=True)
class Finding:
    """A word in a file, and what to write in its place."""

    path: str
    line: int
    word: str
    better: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}: write {self.better}"


@dataclass(frozen=True)
class Allowed:
    """An exception: `path` is a pattern, `word` a word as it is printed, or * for all; `reason` is why."""

    path: str
    word: str
    reason: str

    def covers(self, found: Finding) -> bool:
        """Whether `found` is such an exception."""
        return fnmatch(found.path, self.path) and self.word in ("*", found.word)


ALLOWED = (
    Allowed("CONTRIBUTING.md", "*", "the rules name the words that they replace"),
    Allowed("qmrunner/engines/abort_families.py", "says", "shows the key of the TOML files"),
    Allowed("qmrunner/store/*", "one", "two loop variables; to be renamed with the next change there"),
)

READ = (
    *(f"{folder}/**/*.py" for folder in ("qmrunner", "tests", "benchmarks", "examples", "migrations", "docs")),
    *("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md", "qmrunner/**/*.toml", "Makefile", "entrypoint.sh"),
    *(f"deploy/**/*{end}" for end in (".md", ".sh", ".sbatch", ".yaml", ".service", "Dockerfile", ".env.example")),
)
# Records of their time, recorded output, and lists of the words.
UNREAD = ("CHANGELOG.md", "docs/decisions/*", "tests/fixtures/*", "docs/wording.py", "tests/docs/test_wording.py")
_QUOTED = re.compile(r"(?:noise|pattern|says|unless|example|source|also|exit) = |\s+['\"]")


def _pattern(words: str) -> str:
    return words.replace(" ", r"[\s#>]+")


# Of text as `_plain` makes it: a search that ignores case, or looks around for underscores, takes five times as long.
_WORD = re.compile("|".join(f"(?P<w{at}>{_pattern(words)})" for at, words in enumerate(WORDS)).join((r"\b(?:", r")\b")))
_BETTER = tuple(WORDS.values())
_NAME = re.compile(rf"\b(?:{'|'.join(NAMES)})\b(?= in |, | =|=|:|\(|\))")
# Comments, texts and names of tests in Python. No f-string has its own quotes inside before Python 3.12.
_PIECE = re.compile(
    r"""(?P<comment>\#[^\n]*(?:\n[ \t]*\#[^\n]*)*)
    | (?P<text>(?:\"{3}(?:\\.|[^\\])*?\"{3}) | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
    | \bdef[ ](?P<test>test_\w+)""",
    re.VERBOSE | re.DOTALL,
)


def in_text(text: str, path: str = "", first: int = 1) -> Iterator[Finding]:
    """What a text contains; `first` is the number of its first line."""
    text = _plain(text)
    for match in _WORD.finditer(text):
        better = _BETTER[int((match.lastgroup or "w0")[1:])]
        yield Finding(path, first + text.count("\n", 0, match.start()), _joined(match[0]), better)


def in_toml(text: str, path: str = "") -> Iterator[Finding]:
    """What comments and values contain, without patterns and quotations of an engine's output."""
    quoted = False
    for number, line in enumerate(text.splitlines(), 1):
        opens = _QUOTED.match(line) is not None
        if not (quoted or opens):
            yield from in_text(line, path, number)
        quoted = (quoted or (opens and line.rstrip().endswith("["))) and line.strip() != "]"


def in_code(source: str, path: str = "") -> Iterator[Finding]:
    """What comments, texts and names of a Python file contain; of tests only comments, docstrings and their names."""
    tests = path.startswith("tests/")
    if not tests and _NAME.search(source):
        yield from _bound(source, path)
    if not _WORD.search(_plain(source)):
        return
    for piece in _PIECE.finditer(source):
        text = piece[0]
        if piece["text"] and (" " not in text or (tests and not text.startswith('"""'))):
            continue  # a key, or what a test gives to the program
        yield from in_text(text, path, source.count("\n", 0, piece.start()) + 1)


def _bound(source: str, path: str) -> Iterator[Finding]:
    """Variables, arguments, functions and classes with a name that the glossary replaced."""
    for node in ast.walk(ast.parse(source)):
        name = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
        if name in NAMES:
            yield Finding(path, node.lineno, name, NAMES[name])  # type: ignore[attr-defined]


def _plain(text: str) -> str:
    return text.lower().replace("_", " ")


def _joined(text: str) -> str:
    return " ".join(re.split(r"[\s#>]+", text))


def files() -> Iterator[tuple[str, Path]]:
    """Every file that is read, by its path in the project."""
    found = {path for pattern in READ for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(found):
        name = path.relative_to(ROOT).as_posix()
        if not any(fnmatch(name, pattern) for pattern in UNREAD):
            yield name, path


def findings() -> Iterator[Finding]:
    """All findings that are not allowed, and exceptions that no file needs."""
    unused = set(ALLOWED)
    for name, path in files():
        reader = {".py": in_code, ".toml": in_toml}.get(path.suffix, in_text)
        for found in reader(path.read_text(encoding="utf-8"), name):
            allowed = [entry for entry in ALLOWED if entry.covers(found)]
            unused.difference_update(allowed)
            if not allowed:
                yield found
    for entry in ALLOWED:
        if entry in unused:
            yield Finding("docs/wording.py", 1, entry.word, f"no exception for {entry.path}: it has no such word")


def main() -> int:
    """Print the findings; 1 when there is one."""
    found = list(findings())
    for finding in found:
        print(finding, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
