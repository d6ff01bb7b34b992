"""A start Hessian from xTB, in the form that NWChem's driver reads with `inhess 2`.

Measured (ethanol, B3LYP/6-31G*, COSMO, from the structure of xTB): 4 steps instead of 9, 12.3 s of CPU instead of 30.4.
"""

from __future__ import annotations

import math
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines.nwchem.input.generated_deck import PREFIX

FILE = f"{PREFIX}.hess"


def from_xtb(path: Path, atoms: int) -> str | None:
    """The lower triangle of a Cartesian Hessian (hartree/bohr²), one number per line; None for any other file.

    `path` is xTB's `hessian`: lines that begin with ``$``, then all (3 `atoms`)² numbers row by row. The triangle is
    that of the symmetrised matrix. Format of NWChem: stpr_wrt_fd_from_sq.F.
    """
    try:
        text = untrusted.read_text(path, errors="strict")
        values = [
            float(word) for line in text.splitlines() if not line.lstrip().startswith("$") for word in line.split()
        ]
    except (OSError, ValueError):
        return None
    side = 3 * atoms
    if len(values) != side * side or not all(map(math.isfinite, values)):
        return None
    rows = (
        f"{(values[i * side + j] + values[j * side + i]) / 2:22.10E}".replace("E", "D")
        for i in range(side)
        for j in range(i + 1)
    )
    return "\n".join(rows) + "\n"
