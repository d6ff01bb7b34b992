"""Shared by xTB and CREST: threads, their stacks, and the options for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Exit, Grant

ENOUGH_STACK_MIB = 256
_STACK_REMEDY = (
    "Raise the hard limit of the stack before the worker starts: `ulimit -Hs unlimited`,"
    " `docker run --ulimit stack=-1`, or `LimitSTACK=infinity`; then `qmrunner retry JOB`."
)
_STACK_MIB_LEAST = 64
_STACK_MIB_MOST = 1024


def environment(grant: Grant, directory: Path, stack: int | None = None) -> dict[str, str]:
    """Environment of a program with `grant.cores` OpenMP threads that works in `directory`; `stack` MiB for each."""
    threads = str(grant.cores)
    return {
        # The second number is for nested regions: one thread, or a crest of 4 would run 16.
        "OMP_NUM_THREADS": f"{threads},1",
        "OMP_MAX_ACTIVE_LEVELS": "1",
        "OMP_STACKSIZE": f"{stack or stack_mib(grant)}M",
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # Progress lines reach the log as they are written; gfortran would hold back 8 KiB.
        "GFORTRAN_UNBUFFERED_PRECONNECTED": "1",
        "TMPDIR": str(directory),
        "TZ": "UTC",
        # A wrapper script's messages are read, too: "No space left on device" in the signatures' language.
        "LC_ALL": "C",
    }


def stack_mib(grant: Grant) -> int:
    """Stack of each thread in MiB: the memory grant divided by the threads, within limits.

    With too small a stack xTB dies by SIGSEGV without a message; too large a one cannot be mapped under a limit.
    """
    share = grant.memory_mib // max(grant.cores, 1)
    return max(_STACK_MIB_LEAST, min(_STACK_MIB_MOST, share))


def stack_limited(finding: Finding | None, exit: Exit) -> Finding | None:
    """`finding`, renamed to `stack_limit` if a program died because of its stack and the machine's stack limit is low:
    then neither larger stacks of its threads nor fewer threads help."""
    limit = exit.stack_limit_mib
    if finding is None or finding.code != "openmp_stack" or limit is None or limit >= ENOUGH_STACK_MIB:
        return finding
    seen = f"the stack was limited to {limit:g} MiB: {finding.evidence.text.strip()}"
    return Finding("stack_limit", "operator", replace(finding.evidence, text=seen), _STACK_REMEDY)


def without(args: Sequence[str], names: Collection[str]) -> tuple[list[str], list[str]]:
    """`args` without the options in `names` and the value after each; and those values."""
    kept: list[str] = []
    values: list[str] = []
    rest = iter(args)
    for word in rest:
        if word not in names:
            kept.append(word)
        else:
            values += [value for value in [next(rest, None)] if value is not None]
    return kept, values


def value_of(args: Sequence[str], names: Collection[str]) -> str | None:
    """The value after the last of the options in `names`; None when none of them is there."""
    values = without(args, names)[1]
    return values[-1] if values else None


def integer(text: str | None) -> int | None:
    """`text` as a whole number; None when it is not one."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def atom_count(params: Mapping[str, Any]) -> int | None:
    """Number of atoms that the parameter `atoms` (their symbols, or their number) gives; None if it is missing."""
    atoms = params.get("atoms")
    return atoms if isinstance(atoms, int) else len(atoms) if atoms else None
