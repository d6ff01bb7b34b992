"""Apply the confinement of a guardian's order to this process and everything it starts.

Standard library only: a guardian calls it between fork and exec.
"""

from __future__ import annotations

from typing import Any

from qmrunner.guardian import landlock, seccomp


def enforce(order: dict[str, Any]) -> None:
    """Confine this process permanently; see `policy.as_order`. Raises OSError: then the process must not run."""
    landlock.restrict(landlock.Policy(**order["policy"]))
    if seccomp.supported():
        truncate = landlock.abi() >= landlock.TRUNCATE_ABI
        seccomp.restrict(network=order["network"], local_ipc=order["local_ipc"], truncate=truncate)
