"""Whether an xTB run stays in its folder and starts no other program (see `engines.confine`).

xTB calls ORCA, MOPAC, Turbomole or any command (`--driver`) for energies, and reads instructions (`$external`, `$write`
…) from the file named by `--input`, from `xtb.inp`, or from the structure file itself (source of 6.5.1 and 6.7.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qmrunner.engines.confine import Finding, arguments, escapes, lines_of, words

_PROGRAM = "starts another program"
_OPTIONS = {"driver": _PROGRAM, "orca": _PROGRAM, "mopac": _PROGRAM, "tm": _PROGRAM, "screen": _PROGRAM}
_PROGRAMS = re.compile(r"orca|mopac|turbomole|driver", re.IGNORECASE)
_SAFE = re.compile(r"[\w.,:+@%=/ -]*")
_REMEDY = "keep only the $ blocks that set numbers"


def findings(args: Sequence[str], files: Mapping[str, bytes]) -> list[Finding]:
    """What of the arguments and of the files handed in, by name, would leave the folder or start something."""
    found = arguments("xtb", args, _OPTIONS, _SAFE)
    # The method of --oniom is `inner:outer`, and either may be another program.
    found += [
        Finding("the arguments of xtb", None, word, _PROGRAM, "use gfn1, gfn2 or gfnff")
        for word in args
        if ":" in word and _PROGRAMS.search(word)
    ]
    return found + instructions(files)


def instructions(files: Mapping[str, bytes]) -> list[Finding]:
    """Findings in every file that holds `$` blocks, whatever its name; the others are numbers to xTB."""
    found = []
    for name, data in files.items():
        lines = lines_of(data)
        if not any(line.lstrip().startswith("$") for line in lines):
            continue
        for number, line in enumerate(lines, start=1):
            if line.lstrip().lower().startswith("$ext"):
                found.append(Finding(name, number, line, _PROGRAM, _REMEDY))
            elif any(escapes(word) for word in words(line)):
                found.append(Finding(name, number, line, "names a file outside the job's folder", _REMEDY))
    return found
