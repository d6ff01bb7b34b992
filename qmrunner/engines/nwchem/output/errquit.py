"""Reads aborts of NWChem: every abort goes through its routine `errquit`, which prints this block:

    ------------------------------------------------------------------------
    <routine>: <message>                   <value>
    ------------------------------------------------------------------------
     [input error at line 12: why, the line, dots up to the place]
    ------------------------------------------------------------------------
      current input line :
        12: xc b3lypp
    ------------------------------------------------------------------------
    ------------------------------------------------------------------------
     There is an error in the input file
    ------------------------------------------------------------------------
     For more information see the NWChem manual at …

Each aborting rank prints a block, so blocks can overlap; only the first rank knows the input line. The sentence names
the category of the abort. Memory categories print no sentence (they are compiled out), so a block without a sentence is
a memory error, unless its message clearly describes another error. Then Global Arrays repeat the message after `ARMCI
Error:` or a similar word, which may be the only part left in a truncated log.

Molecular dynamics (`md`, `prepare`, `analysis`) have another routine, which prints a box of stars:

     **********
     *   0: md_rtdbin: rtdb_get failed    0
     **********

An abort would happen again with the same input: no abort is `transient`. Signatures (`signatures.toml`) for single
messages are more specific and come first; `errquit.toml` gives every other abort a code, a class and a remedy.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from qmrunner.engines import abort_families
from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Evidence

Category = Literal[
    "memory", "unassigned", "rtdb", "basis", "geometry", "input", "capability", "integrals", "disk", "convergence"
]
_SENTENCES: tuple[tuple[str, Category], ...] = (
    ("error has not yet been assigned to a", "unassigned"),
    ("in the Runtime Database", "rtdb"),
    ("error in the specified basis set", "basis"),
    ("error related to the specified", "geometry"),
    ("There is an error in the input file", "input"),
    ("feature requested has not yet been", "capability"),
    ("while computing integrals", "integrals"),
    ("while trying to read or", "disk"),
    ("most commonly associated with calculations", "convergence"),
)
_INPUT_LINE = "current input line :"
_ENDS = "For more information see"
_RULE = re.compile(r"-{60,}\s*$")
_RULE_IN_FRONT = re.compile(r"^-{20,}\s*")
_RUN_TOGETHER = re.compile(r"(?<! ) {3,}+-?\d++ ++(?=\S)")
_NUMBERED = re.compile(r"^\D{0,40}?(\d{1,9}): ?(.*)$")
_VALUE = re.compile(r"\s*(-?\d+|\*+)")
_VALUE_WIDTH = 20
# Messages of Global Arrays about the same abort: GA 5 on MPI, ComEx, and the old ARMCI.
_WRAPPED = re.compile(
    r"ARMCI Error: \d+:(?P<mpi>.*?):?\s*$|Received an Error in Communication: \(-?\d+\) (?P<comex>.*)$"
    r"|^\s*(?:\[\d+\] )?\d+:\d+:(?P<armci>.+?):: *-?\d+\s*$"
)
_STARS = re.compile(r"^ \*{10}\s*$")
_BOXED = re.compile(r"^ \* *\d+: (?P<message>\S.*?)(?: +(?P<value>-?\d+|\*+))?\s*$")
# Messages of the same form about a signal that a rank received: not an abort.
_SIGNALLED = re.compile(r"status=|[Ss]ignal|[Cc]hild process|System Error Message")
_BEHIND, _BEFORE = 60, 40
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Abort:
    """One abort. `category` is None if the log ends before its sentence; `input_line` (its number in the deck or in the
    file `included`, and its text) if NWChem had read one; `value` if one was printed."""

    message: str
    evidence: Evidence
    value: int | None = None
    category: Category | None = None
    input_line: tuple[int, str] | None = None
    included: str | None = None

    @property
    def routine(self) -> str:
        """The part of the message before its colon, in lower case; empty without a colon."""
        name, colon, _ = self.message.partition(":")
        return name.strip().lower() if colon and re.fullmatch(r"[\w.()-]+", name.strip()) else ""


class AbortReader:
    """Finds the abort in a log, line by line (a `read.Reader`). `found` is None while there is none."""

    def __init__(self, log_name: str) -> None:
        self._log_name = log_name
        self._before: deque[tuple[int, str]] = deque(maxlen=_BEFORE)
        self._left = 0
        self._block: Abort | None = None
        self._wrapped: Abort | None = None

    @property
    def found(self) -> Abort | None:
        return self._block or self._wrapped

    def feed(self, line: str, number: int) -> None:
        line = line[:_LONGEST]
        if self._left:
            self._left -= 1
            self._inside(line)
        if _INPUT_LINE in line:
            self._open()
        elif self._wrapped is None and line.startswith(" *"):
            self._box(line, number)
        elif self._wrapped is None and ("rror" in line or "::" in line):
            self._wrap(line, number)
        self._before.append((number, line))

    def _open(self) -> None:
        message = _message(self._before)
        if message is not None and self._block is None:
            number, text, value = message
            evidence = Evidence(text.rstrip(), self._log_name, number)
            self._block = Abort(_alone(text[:-_VALUE_WIDTH]), evidence, _integer(value))
        if self._block is not None:
            self._left = _BEHIND
            if (name := _included(self._before)) is not None:
                self._note(included=name)

    def _inside(self, line: str) -> None:
        """A line after `current input line`, from any rank."""
        block = self._block
        if block is None:
            return
        if _ENDS in line:
            self._left = 0
            if block.category is None:
                self._note(category="memory")
        elif named := next((category for sentence, category in _SENTENCES if sentence in line), None):
            if block.category in (None, "memory"):
                self._note(category=named)
        elif (match := _NUMBERED.match(line.rstrip())) and int(match[1]) and block.input_line is None:
            self._note(input_line=(int(match[1]), match[2].strip()))

    def _note(self, **known: Any) -> None:
        if self._block is not None:
            self._block = replace(self._block, **known)

    def _box(self, line: str, number: int) -> None:
        match = _BOXED.match(line)
        if match and self._before and _STARS.match(self._before[-1][1]):
            value = _integer(match["value"] or "")
            self._wrapped = Abort(match["message"], Evidence(line.rstrip(), self._log_name, number), value)

    def _wrap(self, line: str, number: int) -> None:
        match = _WRAPPED.search(line)
        message = next((part for part in match.groups() if part), "").strip() if match else ""
        if message and not _SIGNALLED.search(message):
            self._wrapped = Abort(message, Evidence(line.rstrip(), self._log_name, number))


def _message(before: deque[tuple[int, str]]) -> tuple[int, str, str] | None:
    """Number, text and value of the line with the message of `errquit`: the last one with a rule above or below
    it that ends in a value; ranks that write at once may have moved the rules by some lines."""
    lines = list(before)
    ruled = [bool(_RULE.search(text)) for _, text in lines]
    for at in range(len(lines) - 1, -1, -1):
        number, text = lines[at][0], lines[at][1].rstrip()
        if ruled[at] or not text.strip() or "input error at line" in text:
            continue
        near = any(ruled[max(0, at - 2) : at]) or any(ruled[at + 1 : at + 3])
        value = text[-_VALUE_WIDTH:]
        if near and len(text) > _VALUE_WIDTH and _VALUE.fullmatch(value):
            return number, text, value
    return None


def _alone(text: str) -> str:
    """The message without a rule or the same message of another rank on its line."""
    text = _RULE_IN_FRONT.sub("", text.strip())
    return _RUN_TOGETHER.split(text)[0].strip()


def _included(before: deque[tuple[int, str]]) -> str | None:
    """The file that contains the input line, if it is not the deck itself: the innermost of the named files."""
    lines = [text for _, text in before]
    start = next((at for at in range(len(lines) - 1, -1, -1) if "Include file stack" in lines[at]), None)
    if start is None:
        return None
    names = [match[1] for text in lines[start + 1 :] if (match := re.match(r"^\s+\d+  (\S.*?)\s*$", text))]
    return names[-1] if names else None


def _integer(value: str) -> int | None:
    text = value.strip()
    return int(text) if text and "*" not in text else None


# --- the finding of an abort
# -------------------------------------------------------------------------------------------


FAMILIES = abort_families.load(Path(__file__).with_suffix(".toml"))


def finding(abort: Abort) -> Finding:
    """Code, class and remedy by the abort's category first and its message second, with the message's line as evidence.

    Never `transient`.
    """
    return abort_families.answer(FAMILIES[abort.category or "untold"], (abort.message,), abort.evidence)


# Messages about the words of a task line.
_OF_TASK_LINE = re.compile(r"^task_\w+:|unknown (theory|operation)", re.IGNORECASE)
_OF_LINE = "Correct the line of the deck that NWChem prints"
_OF_TASK = (
    "NWChem refused a setting only when this task used it, so the line that it prints is that of the task: correct the"
    " block or the setting that the message names, or choose another method."
)


def without_a_line(found: Finding, abort: Abort) -> Finding:
    """`found` with a remedy that does not send the user to a correct line: that of the task that was running."""
    words = abort.input_line[1].lower().split() if abort.input_line is not None else []
    during = words[:1] == ["task"] and not _OF_TASK_LINE.search(abort.message)
    return replace(found, remedy=_OF_TASK) if during and found.remedy.startswith(_OF_LINE) else found
