"""The thresholds that a run prints for itself, so that a curve can show how far it still is. Pure."""

from __future__ import annotations

import re

GRADIENT, RESIDUAL = "gradient", "residual"
# NWChem: `driver`, the modules DFT and SCF. xTB: the optimiser.
_PRINTED = (
    (re.compile(r"^ maximum gradient threshold +\(gmax\) = +([\d.]+)"), GRADIENT),
    (re.compile(r"^ +Convergence on density requested: +([\d.]+[DE][+-]\d+)"), RESIDUAL),
    (re.compile(r"^ Convergence threshold {5}: +([\d.]+[DE][+-]\d+)"), RESIDUAL),
    (re.compile(r"^ +: +grad\. convergence +([\d.]+E[+-]\d+) Eh"), GRADIENT),
)
# Residuals of a response are compared with another threshold, which is not printed.
_RESPONSE = "NWChem CPHF Module"


def learn(line: str, known: dict[str, float]) -> None:
    """Put the threshold in this line, if any, into `known`: `gradient` in hartree/bohr, `residual` as the engine's."""
    if "onverge" not in line and "threshold" not in line:
        if _RESPONSE in line:
            known.pop(RESIDUAL, None)
        return
    for pattern, name in _PRINTED:
        if found := pattern.match(line):
            known[name] = float(found[1].replace("D", "E"))
            return
