"""What a batch system has granted to this process on this node, from the variables of its job.

The kernel limits a job only where the cluster constrains cores and memory (cgroups); the variables are always there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SIZE = re.compile(r"(\d+)([KMGT]?)B?", re.IGNORECASE)
_MIB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}
_COUNT = re.compile(r"\s*(\d{1,9})(?!\d)")


def cores(environment: Mapping[str, str]) -> int | None:
    """Processors that Slurm allocated on this node; None outside a job."""
    if not environment.get("SLURM_JOB_ID"):
        return None
    return next(
        (n for name in ("SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE") if (n := _count(environment, name))), None
    )


def memory_mib(environment: Mapping[str, str]) -> int | None:
    """Memory in MiB that Slurm allocated on this node; None outside a job, and for a job that may use all of it.

    Slurm sets one of `SLURM_MEM_PER_NODE`, `SLURM_MEM_PER_CPU` and `SLURM_MEM_PER_GPU`, in MiB; 0 means all.
    """
    if not environment.get("SLURM_JOB_ID"):
        return None
    shares = {
        "SLURM_MEM_PER_NODE": 1,
        "SLURM_MEM_PER_CPU": cores(environment),
        "SLURM_MEM_PER_GPU": _count(environment, "SLURM_GPUS_ON_NODE") or _listed(environment, "SLURM_JOB_GPUS"),
    }
    granted = [size * count for name, count in shares.items() if count and (size := _size(environment.get(name, "")))]
    return min((int(mib) for mib in granted if mib >= 1), default=None)


def _count(environment: Mapping[str, str], name: str) -> int | None:
    """The first number of `16` or `16(x2),8`; None without one."""
    found = _COUNT.match(environment.get(name, ""))
    return int(found[1]) or None if found else None


def _listed(environment: Mapping[str, str], name: str) -> int:
    """How many numbers `0,2-3` names; 0 for anything else."""
    parts = [part.partition("-") for part in environment.get(name, "").split(",")]
    if not all(first.isdigit() and (last.isdigit() or not dash) for first, dash, last in parts):
        return 0
    return sum(int(last) - int(first) + 1 if dash else 1 for first, dash, last in parts)


def _size(text: str) -> float:
    found = _SIZE.fullmatch(text.strip())
    return int(found[1]) * _MIB[found[2].upper()] if found else 0.0
