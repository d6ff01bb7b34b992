"""Every error shown to users: a code, the evidence, the remedy, and the exit code of the command.

An error is shown as ``code: message`` followed by its evidence and its remedy, never as a traceback.
"""

from __future__ import annotations

from enum import IntEnum

from qmrunner.masking import mask


class ExitCode(IntEnum):
    """Exit status of every qmrunner command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_READY = 4


class QmrunnerError(Exception):
    """A failure that the user can act on.

    `code` is a stable word for machines, `message` one sentence, `evidence` the line or value that caused it and
    `remedy` the next action. Passwords in them are masked.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, code: str, message: str, *, evidence: str | None = None, remedy: str | None = None) -> None:
        self.code = code
        self.message = mask(message)
        self.evidence = None if evidence is None else mask(evidence)
        self.remedy = None if remedy is None else mask(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        parts = [self.message]
        if self.evidence:
            parts.append(f"  seen: {self.evidence}")
        if self.remedy:
            parts.append(f"  fix:  {self.remedy}")
        return "\n".join(parts)

    def as_dict(self) -> dict[str, str | None]:
        return {"code": self.code, "message": self.message, "evidence": self.evidence, "remedy": self.remedy}


class UsageError(QmrunnerError):
    """The request is invalid on every machine: bad input or unknown option. Nothing was changed."""

    exit_code = ExitCode.USAGE


class NotFoundError(QmrunnerError):
    """The named job, step or file does not exist."""

    exit_code = ExitCode.NOT_FOUND


class NotReadyError(QmrunnerError):
    """The request is fine, but this machine, store or daemon cannot serve it now."""

    exit_code = ExitCode.NOT_READY


class JobFailedError(QmrunnerError):
    """The job ended without success."""

    exit_code = ExitCode.FAILED


_LONGEST_WORD = 200  # comparing takes time that grows with its square


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str | None:
    """The known word closest to `word`, or None when nothing is near."""
    import difflib

    if len(word) > _LONGEST_WORD:
        return None
    lowered = {k.lower(): k for k in known}
    hits = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[hits[0]] if hits else None
