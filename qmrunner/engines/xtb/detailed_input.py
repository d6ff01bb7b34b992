"""Lines of a detailed input (`--input FILE`) that xTB would ignore without a message.

Observed in runs of 6.5.1: `$FIX`, `$fix` with a tab behind it, an unknown block, and an entry such as `atoms: 1-2` with
a tab before it had no effect, and the run succeeded. Unreadable entries with `=` get a warning. Atoms in `$fix` and
`$metadyn` that the structure does not have were ignored, or the program crashed; in `$constrain` it reports them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from qmrunner.engines.input_check import lines_of, listed
from qmrunner.engines.openmp import value_of
from qmrunner.errors import UsageError

_FLAGS = ("--input", "-I", "-input")
# Blocks of 6.5.1 and 6.7.1 (`src/set_module.f90`, `src/constrain_param.f90`).
BLOCKS = listed(
    "chrg cma constrain coord cube cut directory embedding end eht external fit fix gbsa gfn hess lmoinfo md metadyn"
    " modef molden mopac numgrad oniom opt orca path periodic pop ptb qmdff reactor samerand scan scc set siman"
    " solvation spin split stm symmetry thermo user-defined wall write"
)


# Blocks whose `atoms:` xTB does not compare with the structure.
_UNCHECKED = frozenset({"fix", "metadyn"})
_ATOMS = re.compile(r"\s*atoms\s*:(.*)")
_RANGES = re.compile(r"(\d{1,7})\s*(?:-\s*(\d{1,7}))?")


def check_atoms(args: Sequence[str], files: Mapping[str, bytes], count: int) -> None:
    """Raise UsageError `input_error` that names the first line with an atom beyond the `count` of the structure."""
    name = value_of(args, _FLAGS)
    block = ""
    for number, line in enumerate(lines_of(files[name]) if name in files and name is not None else (), start=1):
        if line.startswith("$"):
            block = (line[1:].replace("=", " ").split() or [""])[0]
        elif block in _UNCHECKED and (match := _ATOMS.match(line)):
            ends = [int(end) for hit in _RANGES.finditer(match[1]) for end in hit.groups() if end]
            if any(not 1 <= end <= count for end in ends):
                raise UsageError(
                    "input_error",
                    f"line {number} of {name} names an atom that the structure of {count} atoms does not have",
                    evidence=line.strip()[:80],
                    remedy=f"name atoms from 1 to {count}, in the order of the structure file",
                )


def check(args: Sequence[str], files: Mapping[str, bytes]) -> None:
    """Raise UsageError `input_ignored` that names the first line without effect."""
    name = value_of(args, _FLAGS)
    if name is None or name not in files:
        return
    found = next(_without_effect(lines_of(files[name])), None)
    if found is None:
        return
    number, line, why, remedy = found
    raise UsageError(
        "input_ignored",
        f"xtb would ignore line {number} of {name} without a message: {why}",
        evidence=line.replace("\t", "<tab>")[:80],
        remedy=remedy,
    )


def _without_effect(lines: Sequence[str]) -> Iterator[tuple[int, str, str, str]]:
    """Number from 1, text, reason and remedy of each such line."""
    within = False
    for number, line in enumerate(lines, start=1):
        if line.startswith("$"):
            within = not line.startswith("$end")
            block = (line[1:].replace("=", " ").split() or [""])[0]
            if problem := _of_block(line, block):
                yield number, line, *problem
        elif within and ":" in line and line.lstrip(" ").startswith("\t"):
            yield number, line, "a tab comes before the entry", "write blanks instead of tabs"


def _of_block(line: str, block: str) -> tuple[str, str] | None:
    if block not in BLOCKS and block.lower() != "end":
        near = get_close_matches(block.lower(), sorted(BLOCKS), 1, 0.6)
        # A block that resembles none may belong to a newer xTB.
        return (f"it has no block ${block}", f"write ${near[0]}") if near else None
    if line[1 + len(block) : 2 + len(block)] == "\t":
        return "a tab follows the name of the block", "write blanks instead of tabs"
    return None
