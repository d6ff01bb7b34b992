"""Detects tasks that did not converge, whatever NWChem's exit status: `unconverged.toml` as a table of marks."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Evidence

# NWChem's message for a failed task: printed with `ignore`, else the message of its abort.
FAILED = re.compile(r"^(?:\s*!! warning:)?\s*(\S+(?: \S+)?) failed\b")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Mark:
    """One message of non-convergence; empty `theories` and `operations` mean all."""

    code: str
    says: re.Pattern[str]
    remedy: str
    theories: frozenset[str] = frozenset()
    operations: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()
    cleared: re.Pattern[str] | None = None

    def fits(self, asked: Asked) -> bool:
        """Whether this task can print the mark."""
        if asked.operation in self.unless:
            return False
        return (not self.theories or asked.theory in self.theories) and (
            not self.operations or asked.operation in self.operations
        )


def _mark(entry: dict[str, Any]) -> Mark:
    return Mark(
        entry["code"],
        re.compile(entry["says"], re.IGNORECASE),
        entry["remedy"],
        frozenset(entry.get("theory", ())),
        frozenset(entry.get("operation", ())),
        frozenset(entry.get("unless", ())),
        re.compile(entry["cleared"], re.IGNORECASE) if "cleared" in entry else None,
    )


_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
MARKS = tuple(_mark(entry) for entry in _DATA["mark"])
_SILENT = _DATA["silent"]
# Every mark contains one of these words, and most lines of a log contain none.
_HINTS = ("onverge", "ONVERGE", "xceeded", "aximum i", "olerance ok")


class Watch:
    """Reads the lines of one task. `found` is the part that did not converge: the first mark that was not cleared
    later."""

    def __init__(self, asked: Asked, log_name: str) -> None:
        self._log_name = log_name
        # A Python program may continue after a calculation that did not converge.
        self._marks = [mark for mark in MARKS if mark.fits(asked) and asked.theory != "python"]
        self._seen: dict[str, Finding] = {}

    @property
    def found(self) -> Finding | None:
        return next(iter(self._seen.values()), None)

    def feed(self, line: str, number: int) -> None:
        """One line of the log and its number, from 1."""
        if not any(hint in line for hint in _HINTS):
            return
        for mark in self._marks:
            if mark.cleared is not None and mark.cleared.search(line):
                self._seen.pop(mark.code, None)
            elif mark.code not in self._seen and mark.says.search(line):
                evidence = Evidence(line.rstrip()[:_LONGEST], self._log_name, number)
                self._seen[mark.code] = Finding(mark.code, "method", evidence, mark.remedy)


def silent(asked: Asked, evidence: Evidence) -> Finding:
    """The finding for a task that NWChem reports as failed without any mark; `evidence` is the line with the report."""
    code = _SILENT["operation"].get(asked.operation) or _SILENT["theory"].get(asked.theory) or "task_failed"
    return Finding(code, "method", evidence, _SILENT["remedy"])
