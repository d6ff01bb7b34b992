"""What a batch system has granted to this process on this node, from the variables of its job.

The kernel limits a job only where the cluster constrains cores and memory (cgroups); the variables are always there.
Only Slurm has some for memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_SIZE = re.compile(r"(\d+)([KMGT]?)B?", re.IGNORECASE)
_MIB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}
_COUNT = re.compile(r"\s*(\d{1,9})(?!\d)")


def cores(environment: Mapping[str, str]) -> int | None:
    """Processors that a batch system allocated on this node; None outside a job. The innermost counts where a job of
    one system runs in that of another: it has the fewest."""
    given = [share(environment) for job, share in _SHARES.items() if environment.get(job)]
    return min((count for count in given if count), default=None)


def _slurm_cores(environment: Mapping[str, str]) -> int | None:
    names = ("SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE")
    return next((n for name in names if (n := _count(environment, name))), None)


def _pbs_cores(environment: Mapping[str, str]) -> int | None:
    """OpenPBS and PBS Pro: `NCPUS`. Torque: `PBS_NP` in all, `PBS_NUM_PPN` on each node."""
    one_node = _count(environment, "PBS_NUM_NODES") == 1
    names = ("NCPUS", *(("PBS_NP",) if one_node else ()), "PBS_NUM_PPN")
    return next((n for name in names if (n := _count(environment, name))), None)


def _grid_engine_cores(environment: Mapping[str, str]) -> int | None:
    """`NSLOTS` on all of `NHOSTS` machines."""
    slots = _count(environment, "NSLOTS")
    return slots and max(1, slots // (_count(environment, "NHOSTS") or 1))


def _lsf_cores(environment: Mapping[str, str]) -> int | None:
    """The number after the first name in `first 4 second 2`: a job's script runs on its first machine."""
    return _count(environment, "LSB_MCPU_HOSTS", skip=1) or _count(environment, "LSB_DJOB_NUMPROC")


# The variable that a job of each batch system has, and how the others are read.
_SHARES: dict[str, Callable[[Mapping[str, str]], int | None]] = {
    "SLURM_JOB_ID": _slurm_cores,
    "PBS_JOBID": _pbs_cores,
    "JOB_ID": _grid_engine_cores,
    "LSB_JOBID": _lsf_cores,
}


def memory_mib(environment: Mapping[str, str]) -> int | None:
    """Memory in MiB that Slurm allocated on this node; None outside a job, and for a job that may use all of it.

    Slurm sets one of `SLURM_MEM_PER_NODE`, `SLURM_MEM_PER_CPU` and `SLURM_MEM_PER_GPU`, in MiB; 0 means all.
    """
    if not environment.get("SLURM_JOB_ID"):
        return None
    shares = {
        "SLURM_MEM_PER_NODE": 1,
        "SLURM_MEM_PER_CPU": _slurm_cores(environment),
        "SLURM_MEM_PER_GPU": _count(environment, "SLURM_GPUS_ON_NODE") or _listed(environment, "SLURM_JOB_GPUS"),
    }
    granted = [size * count for name, count in shares.items() if count and (size := _size(environment.get(name, "")))]
    return min((int(mib) for mib in granted if mib >= 1), default=None)


def _count(environment: Mapping[str, str], name: str, skip: int = 0) -> int | None:
    """The first number of `16` or `16(x2),8`, after `skip` words; None without one."""
    words = environment.get(name, "").split(maxsplit=skip)
    found = _COUNT.match(words[-1]) if len(words) > skip else None
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
