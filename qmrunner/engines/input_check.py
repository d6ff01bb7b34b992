"""Rules of input confinement shared by all engines: a user's input may only name files in the job's folder, and may
start no program.

Decks of NWChem are parsed as NWChem parses them (`nwchem.input.reader`). The parsers of the other programs are not
imitated: the rules check every word, whatever its place and its quotes. So they also refuse some harmless input, and
name its line.

Each engine's `findings` refuses what the kernel would block where it confines engines; with `strict`, where only this
check confines the run, also everything that is not known to be harmless. Users can bypass both on their own machine
(`UNCONFINED`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qmrunner.errors import UsageError

UNCONFINED = "on your own machine, --unconfined allows it"
# All separators between words in any of the formats.
_BETWEEN = re.compile(r"[\s\"'`;,=:()<>|&\[\]{}\\!?#]+")
# Characters with a meaning to a shell (CREST and NWChem pass file names to a shell), to the program or to qmrunner.
_SHELL = re.compile(r"[;&|<>$`\"'\\*?!{}\[\]~#\n\r\t]")
_OPTION = re.compile(r"-+[^\d.-]")
_CONTROL_FILES = frozenset({".CHRG", ".UHF"})
_RESERVED = frozenset({"tmp", "checkpoint", "result.json", "output.log", "salvage.json", "salvaged_iterations.xyz"})
_LONGEST_NAME = 200
_SHOWN = 5
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Finding:
    """One refused part of the input: its place (`line` from 1; None for a whole file), its text, reason and remedy."""

    file: str
    line: int | None
    text: str
    reason: str
    remedy: str

    def shown(self) -> str:
        """`deck.nw line 7: task shell "id" (runs a command)`, on one printable line."""
        place = self.file if self.line is None else f"{self.file} line {self.line}"
        text = "".join(character if character.isprintable() else "?" for character in self.text.strip())
        cut = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        return f"{place}: {cut} ({self.reason})"


def words(text: str) -> list[str]:
    """Every word of `text`, split at more separators than any program uses."""
    return [word for word in _BETWEEN.split(text) if word]


def listed(words: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(words.split())


def escapes(word: str) -> bool:
    """Whether a file of this name may be outside the folder: absolute, in a home, or through ``..``."""
    return word.startswith("/") or (word.startswith("~") and "/" in word) or ".." in word.split("/")


def lines_of(data: bytes) -> list[str]:
    """The physical lines of a file as Fortran reads them: a carriage return alone ends one, too. Bytes are kept."""
    return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def check_names(names: Iterable[str]) -> None:
    """Raise UsageError `bad_file_name` for a name that leaves the folder, is read when a program starts, has a meaning
    to a shell, or is used by qmrunner."""
    for name in names:
        why = _unfit(name)
        if why:
            raise UsageError(
                "bad_file_name",
                f"{name!r} cannot be the name of an input file: {why}",
                remedy="rename it, for example to letters, digits, '-', '_' and '.'",
            )


def _unfit(name: str) -> str | None:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        return "it has to be a plain name without a folder"
    if name.startswith("-") or not name.isprintable():
        return "it would be misread by the program"
    if _SHELL.search(name):
        return "it contains a character with a meaning to a shell"
    if name.startswith(".") and name not in _CONTROL_FILES:
        return "programs read hidden files at their start"
    if name in _RESERVED:
        return "qmrunner has a file of this name in the same folder"
    if len(name.encode()) > _LONGEST_NAME:
        return f"it is longer than {_LONGEST_NAME} bytes"
    return None


def refuse(findings: Sequence[Finding]) -> None:
    """Raise UsageError `deck_escapes` that shows the findings, if there are any."""
    if not findings:
        return
    first = findings[0]
    shown = [finding.shown() for finding in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        shown.append(f"and {len(findings) - _SHOWN} more")
    raise UsageError(
        "deck_escapes",
        f"{first.file} may only use files in the job's folder and start no program: {first.reason}",
        evidence="\n        ".join(shown),
        remedy=f"{first.remedy}; {UNCONFINED}",
    )


def arguments(
    program: str,
    args: Sequence[str],
    refused: Mapping[str, str],
    safe: re.Pattern[str],
    known: Collection[str] | None = None,
) -> list[Finding]:
    """Findings in a command line: options in `refused` (without dashes, in lower case: the reason), words that
    `safe` does not match as a whole, files elsewhere. ``--a=b`` counts as both its parts. With `known`, options that
    are not among these (without dashes) are refused, too; a negative number is none."""
    found = []
    for argument in args:
        reason = None
        parts = words(argument)
        # Fortran ignores blanks at the end of what it compares.
        option = argument.lstrip("-").lower().split("=")[0].strip()
        if argument.startswith("-") and option in refused:
            reason = refused[option]
        elif known is not None and _OPTION.match(argument) and argument.lstrip("-").split("=")[0] not in known:
            reason = "is not among the options that are known to be harmless"
        elif not safe.fullmatch(argument):
            reason = "contains a character with a meaning to a shell"
        elif any(escapes(part) for part in parts):
            reason = "names a file outside the job's folder"
        if reason:
            remedy = "leave it out, or submit the file with the job and name it without its folder"
            found.append(Finding(f"the arguments of {program}", None, argument, reason, remedy))
    return found
