"""Failure signatures: the reason why an engine ended as it did.

Signatures are data, one TOML file per engine plus `common.toml` for launchers, containers, limits and signals:

```toml
noise = ['^ For more information see']      # lines that never explain anything

[[signature]]
code = "scf_not_converged"                  # a word that never changes
class = "method"                            # transient | resource | method | permanent | operator
pattern = ['Calculation failed to converge']   # regexes tried on every line; the first that hits gives the evidence
also = ['NWChem DFT Module']                # optional: these must also match somewhere in the log
unless = ['time remaining']                 # optional: none of these may match anywhere in the log
exit = [137, "SIGKILL"]                     # optional: return codes and signals, one of which must be the exit's
oom = true                                  # optional: the kernel must have counted an out-of-memory kill
disk_full = true                            # optional: the guardian must have seen the disk full
generic = true                              # optional: used only if nothing more specific matched
remedy = "One sentence to a person."
source = "the evidence for this signature"
```

Order is precedence. The passes are: text signatures of the engine, then of `common.toml`; the same again for generic
ones; last the signatures without a pattern, which only test the exit. A log is read once, block by block: each pattern
is searched by its longest literal first, so 100 MB take seconds and a few MiB, whatever they contain.
"""

from __future__ import annotations

import os
import re
import signal
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from qmrunner import untrusted
from qmrunner.model.jobs import Evidence, Exit, FailureClass

COMMON = Path(__file__).with_name("common.toml")
_BLOCK = 1 << 20
_TAIL = 1 << 16
_LONGEST_LINE = 4000
_LONGEST_EVIDENCE = 500
_UNKNOWN_REMEDY = "Read the log around this line; if it names the cause, report it so that it becomes a signature."
_KEYS = {"code", "class", "pattern", "also", "unless", "exit", "oom", "disk_full", "generic", "remedy", "source"}
_CLASSES = get_args(FailureClass)
_DECORATION = re.compile(r"^[\s\-=*_+|.#]*$")


@dataclass(frozen=True, slots=True)
class Finding:
    """The interpretation of a log and an exit: a stable code, its class, the line that proves it, and the remedy."""

    code: str
    failure_class: FailureClass
    evidence: Evidence
    remedy: str


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to fail. `text`, `also` and `unless` are regexes for single lines (see the module)."""

    code: str
    failure_class: FailureClass
    remedy: str
    source: str
    text: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    exits: frozenset[int | str] = frozenset()
    oom: bool = False
    disk_full: bool = False
    generic: bool = False

    @property
    def regexes(self) -> tuple[str, ...]:
        return self.text + self.also + self.unless

    def allows(self, exit: Exit) -> bool:
        """Whether the signature applies to this exit."""
        if self.oom and not exit.oom_kills:
            return False
        if self.disk_full and not exit.disk_full:
            return False
        return not self.exits or bool(self.exits & _exit_words(exit))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All signatures of one engine in order of precedence, and the patterns of lines that explain nothing."""

    signatures: tuple[Signature, ...]
    noise: tuple[str, ...] = ()

    def classify(self, log: Path, exit: Exit, own: Collection[str] = frozenset()) -> Finding | None:
        """The first signature that fits, or None. A missing log counts as an empty one. Lines in `own` are the
        user's words, such as a title, and prove nothing.

        Meant for attempts that did not succeed: harmless runs may print alarming lines.
        """
        found = scan(log, [regex for signature in self.signatures for regex in signature.regexes], own)
        for signature in self.signatures:
            evidence = self._fits(signature, exit, found)
            if evidence is not None:
                return _finding(signature, evidence)
        for signature in self.signatures:
            if not signature.text and signature.allows(exit) and _in_context(signature, found):
                return _finding(signature, self._exit_evidence(log, exit))
        return None

    def unknown(self, log: Path, exit: Exit) -> Finding:
        """The finding if nothing matched, with the last meaningful line as evidence."""
        evidence = self.last_line(log) or Evidence(describe(exit), log.name)
        return Finding("unknown", "transient", evidence, _UNKNOWN_REMEDY)

    def last_line(self, log: Path) -> Evidence | None:
        """The last line of `log` that is neither blank, nor decoration, nor known noise."""
        noise = [re.compile(pattern) for pattern in self.noise]
        for number, line in _tail(log):
            if not _DECORATION.match(line) and not any(pattern.search(line) for pattern in noise):
                return Evidence(line[:_LONGEST_EVIDENCE], log.name, number)
        return None

    @staticmethod
    def _fits(signature: Signature, exit: Exit, found: dict[str, Evidence]) -> Evidence | None:
        hits = [found[regex] for regex in signature.text if regex in found]
        return hits[0] if hits and signature.allows(exit) and _in_context(signature, found) else None

    def _exit_evidence(self, log: Path, exit: Exit) -> Evidence:
        last = self.last_line(log)
        if last is None:
            return Evidence(describe(exit), log.name)
        return Evidence(f"{describe(exit)}; last line: {last.text.strip()}", last.file, last.line)


def load(*files: Path) -> Catalogue:
    """The catalogue of these files followed by `common.toml`.

    Raises ValueError naming file and entry when a signature is malformed.
    """
    signatures: list[Signature] = []
    noise: list[str] = []
    for file in (*files, COMMON):
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        noise += data.get("noise", [])
        signatures += [_signature(file, number, entry) for number, entry in enumerate(data.get("signature", []), 1)]
    return Catalogue(tuple(sorted(signatures, key=lambda signature: signature.generic)), tuple(noise))


def scan(log: Path, regexes: Sequence[str], own: Collection[str] = frozenset()) -> dict[str, Evidence]:
    """The first line of `log` that each regex matches, except lines in `own`. Time is linear in the log, memory
    constant."""
    pending = {regex: (re.compile(regex), _longest_literal(regex).encode()) for regex in regexes}
    found: dict[str, Evidence] = {}
    for first_line, block in _blocks(log):
        for regex, (pattern, literal) in tuple(pending.items()):
            hit = _first_match(block, pattern, literal, own)
            if hit is not None:
                start, text = hit
                number = first_line + block.count(b"\n", 0, start)
                found[regex] = Evidence(text[:_LONGEST_EVIDENCE], log.name, number)
                del pending[regex]
    return found


def _signature(file: Path, number: int, entry: dict[str, Any]) -> Signature:
    where = f"{file.name}: signature {number} ({entry.get('code', 'no code')})"
    unknown = set(entry) - _KEYS
    missing = {"code", "class", "remedy", "source"} - set(entry)
    if unknown or missing or entry["class"] not in _CLASSES:
        raise ValueError(f"{where}: unknown {sorted(unknown)}, missing {sorted(missing)}, class {entry.get('class')}")
    signature = Signature(
        code=entry["code"],
        failure_class=entry["class"],
        remedy=entry["remedy"],
        source=entry["source"],
        text=tuple(entry.get("pattern", ())),
        also=tuple(entry.get("also", ())),
        unless=tuple(entry.get("unless", ())),
        exits=frozenset(entry.get("exit", ())),
        oom=entry.get("oom", False),
        disk_full=entry.get("disk_full", False),
        generic=entry.get("generic", False),
    )
    if not signature.text and not _conditional(signature):
        raise ValueError(f"{where}: neither pattern nor exit")
    for regex in signature.regexes:
        re.compile(regex)
        if len(_longest_literal(regex)) < 2:
            raise ValueError(f"{where}: {regex!r} needs two literal characters in a row and no top-level '|'")
    return signature


def _in_context(signature: Signature, found: dict[str, Evidence]) -> bool:
    return all(regex in found for regex in signature.also) and not any(regex in found for regex in signature.unless)


def _conditional(signature: Signature) -> bool:
    return bool(signature.exits or signature.oom or signature.disk_full)


def _finding(signature: Signature, evidence: Evidence) -> Finding:
    return Finding(signature.code, signature.failure_class, evidence, signature.remedy)


def _exit_words(exit: Exit) -> set[int | str]:
    words: set[int | str] = set()
    if exit.returncode is not None:
        words.add(exit.returncode)
    if exit.signal is not None:
        words |= {_signal_name(exit.signal), 128 + exit.signal}
    return words


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe(exit: Exit) -> str:
    """How a program ended, in words."""
    if exit.signal is not None:
        return f"ended by {_signal_name(exit.signal)}"
    return "no exit status" if exit.returncode is None else f"exit status {exit.returncode}"


def _blocks(log: Path) -> Iterator[tuple[int, bytes]]:
    """Pieces of `log` that end at line ends, each with the number of its first line.

    A line longer than a block is cut, so that a log without a newline cannot fill the memory.
    """
    line, rest = 1, b""
    try:
        stream = untrusted.open_file(log)
    except (FileNotFoundError, untrusted.Refused):
        return
    with stream:
        while chunk := stream.read(_BLOCK):
            chunk = rest + chunk
            end = chunk.rfind(b"\n") + 1
            if not end and len(chunk) < 2 * _BLOCK:
                rest = chunk
                continue
            piece, rest = (chunk[:end], chunk[end:]) if end else (chunk, b"")
            yield line, piece
            line += piece.count(b"\n")
    if rest:
        yield line, rest


def _first_match(
    block: bytes, pattern: re.Pattern[str], literal: bytes, own: Collection[str] = frozenset()
) -> tuple[int, str] | None:
    at = block.find(literal)
    while at >= 0:
        start = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        near = block[max(start, at - _LONGEST_LINE) : min(end, at + _LONGEST_LINE)]
        text = near.decode("utf-8", "replace").rstrip()
        if pattern.search(text) and text not in own:
            return start, text
        at = block.find(literal, end)
    return None


def _tail(log: Path) -> Iterator[tuple[int, str]]:
    """The last lines of `log` with their numbers, newest first."""
    total = 1 + sum(block.count(b"\n") for _, block in _blocks(log))
    try:
        with untrusted.open_file(log) as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            lines = stream.read(_TAIL).split(b"\n")
    except (FileNotFoundError, untrusted.Refused):
        return
    for back, line in enumerate(reversed(lines)):
        yield total - back, line.decode("utf-8", "replace").rstrip()


def _longest_literal(regex: str) -> str:
    """The longest run of characters that every match of `regex` contains; empty when none is certain.

    Understands what the catalogues use: groups, classes and quantified parts end a run, a top-level `|` leaves none.
    """
    runs, depth, at = [""], 0, 0
    while at < len(regex):
        char, step = regex[at], 1
        if char == "\\":
            char, step = regex[at : at + 2], 2
        elif char == "[":
            step = regex.index("]", at + 2) - at + 1
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "|" and depth == 0:
            return ""
        following = regex[at + step : at + step + 1]
        plain = char if char not in ".^$[]()|*+?{}" else ""
        if len(char) == 2:
            plain = char[1] if not char[1].isalnum() else ""
        if char == "{":
            step = regex.index("}", at) - at + 1
        if not plain or depth or (following and following in "?*{"):
            runs.append("")
        else:
            runs[-1] += plain
            if following == "+":
                runs.append("")
        at += step
    return max(runs, key=len)
