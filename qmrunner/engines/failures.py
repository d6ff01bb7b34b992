"""Outcomes of attempts that did not succeed, shared by all engines that read their log by signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from qmrunner.engines import signatures
from qmrunner.engines.signatures import Catalogue, Finding
from qmrunner.model.jobs import Evidence, Exit, Outcome

Refine = Callable[[Finding | None, Path], Finding | None]

# The engine was stopped from outside, by a signal that it reports itself.
_STOPPED = ("terminated", "interrupted")
_HUNG_REMEDY = "The attempt made no progress and was ended: the step is retried; if it hangs again, check its input."


def failed(finding: Finding) -> Outcome:
    """The outcome of a failure that a signature or a check found."""
    return Outcome(
        state="stopped" if finding.code in _STOPPED else "failed",
        code=finding.code,
        failure_class=finding.failure_class,
        evidence=finding.evidence,
        remedy=finding.remedy,
        summary=finding.evidence.text.strip() or None,
    )


def stopped(reason: str, catalogue: Catalogue, log: Path) -> Outcome:
    """The outcome of an attempt that qmrunner itself ended for `reason` (``drain``, ``hung``, …)."""
    hung = reason == "hung"
    return Outcome(
        state="stopped",
        code=reason,
        failure_class="transient",
        evidence=catalogue.last_line(log) or Evidence("no output at all", log.name),
        remedy=_HUNG_REMEDY if hung else None,
        summary="no progress; ended" if hung else f"stopped for {reason}",
    )


def crashed_behind(outcome: Outcome, exit: Exit) -> Outcome:
    """A success whose program crashed after its end mark and its complete result: it stays a success, with a note.

    An outcome that is not a success is returned unchanged.
    """
    if outcome.state != "succeeded":
        return outcome
    note = f"{signatures.describe(exit)}, but only after the result was complete"
    notes = [*outcome.result.get("notes", ()), note]
    summary = f"{outcome.summary}; {note}" if outcome.summary else note
    return replace(outcome, result={**outcome.result, "notes": notes}, summary=summary)


def ended(catalogue: Catalogue, log: Path, exit: Exit, refine: Refine = lambda found, log: found) -> Outcome:
    """The outcome of an attempt that did not succeed and whose cause no check of the results found.

    `refine` may replace the catalogue's finding by a more specific one.
    """
    if exit.stop_reason is not None:
        return stopped(exit.stop_reason, catalogue, log)
    return failed(refine(catalogue.classify(log, exit), log) or catalogue.unknown(log, exit))


def hidden(catalogue: Catalogue) -> Catalogue:
    """The part of a catalogue that also applies to runs with exit status 0: signatures that name that status."""
    return Catalogue(tuple(s for s in catalogue.signatures if 0 in s.exits), catalogue.noise)


def file_finding(code: str, path: Path, text: str, remedy: str) -> Finding:
    """A finding of class resource whose evidence is the state of a file rather than a line."""
    return Finding(code, "resource", Evidence(text, path.name), remedy)
