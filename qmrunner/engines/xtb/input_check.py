"""Checks that an xTB run stays in its folder and starts no other program (see `engines.input_check`).

xTB calls ORCA, MOPAC, Turbomole or any command (`--driver`) for energies and QMDFF for `screen`, and reads instructions
(`$external`, `$set`, `$write` …) from the file named by `--input`, from `xtb.inp`, or from the structure file itself
(source of 6.5.1 and 6.7.1: `execute_command_line` in `src/extern/*.f90` and `src/screening.f90`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qmrunner.engines.input_check import Finding, arguments, escapes, lines_of, listed, words

_PROGRAM = "starts another program"
_OPTIONS = {"driver": _PROGRAM, "orca": _PROGRAM, "mopac": _PROGRAM, "tm": _PROGRAM, "screen": _PROGRAM}
_PROGRAMS = re.compile(r"orca|mopac|turbomole|driver", re.IGNORECASE)
# Options that 6.5.1 and 6.7.1 know, without those that start programs; a file name after one of them must be a plain
# name.
_KNOWN = listed(
    "h help citation license version v verbose V very-verbose define P parallel restart norestart copy nocopy strict I"
    " input namespace vparam coffee a acc c chrg charge ceh u uhf gfn gfn1 gfn2 gfn0 gfnff gff mcgfnff iff ptb tblite"
    " color spinpol dipro oniom cut etemp esp stm cma enso json ceasefiles pop molden dipole wbo lmo ewin fod"
    " iterations maxiterations cycles g gbsa alpb cosmo tmcosmo cpcmx scc sp vip vea vipea vomega vfukui alpha raman"
    " grad o opt hess md ohess bhess omd siman path gmd modef mdopt metadyn metaopt nat bias-input gesc"
    " wrtopo nocellopt"
)
_BLOCKS = listed(
    "angle atoms cell cell_coord chrg cma constrain coord cube embedding end energy eht fit fix forces gbsa gfn grad"
    " gradient hess hessian lattice md metadyn modef opt path periodic redundant samerand scan scc siman solvation spin"
    " split symmetry thermo user-defined wall write title"
)
_SAFE = re.compile(r"[\w.,:+@%=/ -]*")
_RUNS = ("scc", "grad", "opt", "hess", "ohess", "bhess", "md", "omd", "siman", "path", "modef", "mdopt", "metaopt",
         "vip", "vea", "vipea", "vomega", "vfukui", "gmd")  # fmt: skip
_REMEDY = "keep only the $ blocks that set numbers"


def findings(args: Sequence[str], files: Mapping[str, bytes], *, strict: bool = False) -> list[Finding]:
    """Parts of the arguments and of the submitted files (by name) that would leave the folder or start a program.

    `strict`: only this check confines the run, so options and blocks that are not known to be harmless are refused,
    too.
    """
    found = arguments("xtb", args, _OPTIONS, _SAFE, _KNOWN if strict else None)
    # The method of --oniom is `inner:outer`, and either may be another program.
    found += [
        Finding("the arguments of xtb", None, word, _PROGRAM, "use gfn1, gfn2 or gfnff")
        for word in args
        if ":" in word and _PROGRAMS.search(word)
    ]
    return found + instructions(files, strict=strict)


def instructions(files: Mapping[str, bytes], *, strict: bool = False) -> list[Finding]:
    """Findings in every file with `$` blocks, whatever its name; xTB reads the other files as numbers."""
    found = []
    for name, data in files.items():
        lines = lines_of(data)
        if not any(line.lstrip().startswith("$") for line in lines):
            continue
        for number, line in enumerate(lines, start=1):
            line_words = [word.lower() for word in words(line)]
            block = line.lstrip().lower()
            if block.startswith("$ext") or (
                "runtyp" in line_words and not _harmless(line_words[line_words.index("runtyp") + 1 :])
            ):
                found.append(Finding(name, number, line, _PROGRAM, _REMEDY))
            elif any(escapes(word) for word in words(line)):
                found.append(Finding(name, number, line, "names a file outside the job's folder", _REMEDY))
            elif strict and block.startswith("$") and _block(block) not in _BLOCKS:
                reason = "is not among the blocks that are known to be harmless"
                found.append(Finding(name, number, line, reason, _REMEDY))
    return found


def _harmless(kind: list[str]) -> bool:
    """Whether a `runtyp` of a `$set` block starts only xTB."""
    return kind[:1] in ([], *([known] for known in _RUNS))


def _block(line: str) -> str:
    """The name of the block that a line begins, without values such as in `$chrg 1`."""
    return (line[1:].split("=")[0].split() or [""])[0]
