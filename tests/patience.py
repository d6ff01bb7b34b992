"""How much longer the tests wait on a machine that does other work, too.

A deadline distinguishes a hang from slow work, and work takes longer where many processes share a core: a run beside
other programs failed by deadlines alone. The tests' own workers are no reason to wait longer.
"""

from __future__ import annotations

import os

_OWN_LOAD = 4.0  # processes that want a core, for each core, in a run of the tests alone


def stretched(deadline_s: float) -> float:
    """The deadline on this machine, by its load of the last minute."""
    cores = len(os.sched_getaffinity(0))
    return deadline_s * max(1.0, os.getloadavg()[0] / (_OWN_LOAD * cores))
