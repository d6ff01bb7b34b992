"""Decides whether an attempt failed because the kernel denied an access, and which one.

The kernel returns EACCES or EPERM to a confined engine and reports nothing to qmrunner. The engine's output is the
evidence: a path or program in a line about permissions that the attempt's policy does not allow.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmrunner.engines.input_check import UNCONFINED
from qmrunner.engines.input_check import Finding as Refused
from qmrunner.model.jobs import Evidence, Outcome

CODE = "confined"
_TAIL_BYTES = 256 << 10
_DENIED = re.compile(rb"permission denied|operation not permitted", re.IGNORECASE)
_PATH = re.compile(r"(?:~|\.{1,2})?/[^\s'\"`:;,()<>|]*")
_PROGRAM = re.compile(r"(?:^|: )([\w.+-]+): (?:cannot execute: )?permission denied", re.IGNORECASE)
_ALLOW = "QMRUNNER_CONFINE_ALLOW opens a folder or program of this site to all engines"
_REMEDY = f"submit the file with the job (--with FILE) and name it without its folder; {UNCONFINED}; {_ALLOW}"


def explain(outcome: Outcome, log: Path, policy: Mapping[str, Any] | None, refused: Sequence[Refused]) -> Outcome:
    """The outcome of an attempt; `confined` when a denied access made it fail.

    `policy` is from the guardian's order, None when the attempt was not confined. `refused` are the findings of the
    input check on the attempt's inputs.
    """
    if policy is None or outcome.state != "failed":
        return outcome
    evidence = next(_denied(log, policy), None)
    if evidence is None and refused:
        cause = outcome.evidence.text.strip() if outcome.evidence else "the program failed"
        evidence = Evidence(f"{refused[0].shown()}: {cause}", refused[0].file, refused[0].line)
    if evidence is None:
        return outcome
    return replace(
        outcome,
        code=CODE,
        failure_class="permanent",
        evidence=evidence,
        remedy=_REMEDY,
        summary=f"the kernel refused the program something outside its folder: {evidence.text}",
    )


def _denied(log: Path, policy: Mapping[str, Any]) -> Iterator[Evidence]:
    """Lines at the end of the log that report a denied access which the policy forbids, last first."""
    lines, first = _tail(log)
    for at in range(len(lines) - 1, -1, -1):
        if not _DENIED.search(lines[at]):
            continue
        text = lines[at].decode("utf-8", "replace").strip()
        if any(_forbidden(path, policy) for path in _named(text, policy)):
            yield Evidence(text[:400], log.name, None if first is None else first + at)


def _tail(log: Path) -> tuple[list[bytes], int | None]:
    """The last lines, and the line number of the first; None when the log is too long to count lines."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return [], None
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read(_TAIL_BYTES).splitlines(), 1 if size <= _TAIL_BYTES else None


def _named(text: str, policy: Mapping[str, Any]) -> Iterator[str]:
    """Paths and programs in a line. Relative paths start at the engine's folder."""
    work = str(policy["write"][0])
    # A path ends at a blank, and the folder of an attempt may have blanks.
    for path in _PATH.findall(re.sub(rf"{re.escape(work)}(?=\W|$)", ".", text)):
        yield os.path.join(work, os.path.expanduser(path))
    program = _PROGRAM.search(text)
    program_path = shutil.which(program[1]) if program else None
    if program_path:
        yield program_path


def _forbidden(path: str, policy: Mapping[str, Any]) -> bool:
    """Whether the policy forbids to read, or to execute, `path`."""
    real = os.path.realpath(path)
    if _below(real, (*policy["write"], *policy["devices"])):
        return False
    executable = os.path.isfile(real) and os.access(real, os.X_OK)
    return not _below(real, policy["execute"] if executable else policy["read"])


def _below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{os.path.realpath(folder)}/") for folder in folders)
