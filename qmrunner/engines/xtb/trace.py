"""Reads aborts of xTB: a fatal error prints the traceback of its environment, innermost message last.

    [ERROR] Program stopped due to fatal error
    -3- Single point calculation terminated
    -2- xtb_calculator_singlepoint: Electronic structure method terminated
    -1- scf: Self consistent charge iterator did not converge
    ########################################################################

The outer messages only name the callers. Lines with the place in the input may follow a message. Such an abort would
happen again with the same input: none is `transient`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines import abort_families
from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Evidence

FATAL = abort_families.load(Path(__file__).with_suffix(".toml"))["fatal"]
_BEGINS = "Program stopped due to fatal error"
_LEVEL = re.compile(r"-(\d+)- +(\S.*)$")
_ENDS = "####"
_LONGEST = 60
_LONGEST_LINE = 500


@dataclass(frozen=True, slots=True)
class Trace:
    """The messages, innermost first, each with its place in the log."""

    messages: tuple[Evidence, ...]

    @property
    def innermost(self) -> Evidence:
        return self.messages[0]

    def holds(self, evidence: Evidence) -> bool:
        return any(evidence.line == message.line for message in self.messages)


def read(log: Path) -> Trace | None:
    """The last traceback of a log; None without one, or where it has no message."""
    found: dict[int, Evidence] = {}
    left = 0
    with suppress(OSError):
        for number, line in enumerate(untrusted.lines(log), 1):
            if _BEGINS in line:
                found, left = {}, _LONGEST
            elif left:
                left = 0 if found and line.startswith(_ENDS) else left - 1
                match = _LEVEL.search(line[:_LONGEST_LINE].rstrip())
                if match:
                    found.setdefault(int(match[1]), Evidence(match.string, log.name, number))
    return Trace(tuple(found[level] for level in sorted(found))) if found else None


def refine(found: Finding | None, log: Path) -> Finding | None:
    """`found` with the innermost message as evidence, if it is based on the traceback; the finding from the traceback
    itself, if no signature matched more than the end of the run."""
    trace = read(log)
    if trace is None:
        return found
    if found is None or found.code in ("unknown", "crashed"):
        return abort_families.answer(FATAL, [message.text for message in trace.messages], trace.innermost)
    return replace(found, evidence=trace.innermost) if trace.holds(found.evidence) else found
