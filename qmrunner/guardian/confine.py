"""A confinement, as it stands in a guardian's order, put in force for this process and all that it starts.

Standard library only: a guardian calls it between fork and exec.
"""

from __future__ import annotations

from typing import Any

from qmrunner.guardian import landlock, seccomp


def enforce(order: dict[str, Any]) -> None:
    """Hand this process to the kernel's care, for ever; see `policy.as_order`. Raises OSError: it must not run then."""
    landlock.restrict(landlock.Policy(**order["policy"]))
    if seccomp.supported():
        truncate = landlock.abi() >= landlock.TRUNCATE_ABI
        seccomp.restrict(network=order["network"], local_ipc=order["local_ipc"], truncate=truncate)
