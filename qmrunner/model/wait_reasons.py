"""Which resource a step lacks: why it waits, or why it can never run, and how to fix that. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity, Free

_NAMES = {"memory": "memory", "scratch": "scratch", "shm": "/dev/shm"}
# A tenth of a container's memory is left to the daemon and the page cache; of shared memory and scratch a twentieth.
_OF_LIMIT = {"memory": 0.9, "scratch": 0.95, "shm": 0.95}


@dataclass(frozen=True, slots=True)
class Shortage:
    """One resource that is short; `needs` and `has` are cores, or MiB."""

    what: str
    needs: int
    has: int

    @property
    def needed(self) -> str:
        return f"{self.needs} core(s)" if self.what == "cores" else f"{size(self.needs)} of {_NAMES[self.what]}"

    @property
    def available(self) -> str:
        return str(self.has) if self.what == "cores" else size(self.has)


def size(mib: float) -> str:
    """Readable: 64 MiB, 3.5 GiB."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"


def flag_size(mib: float) -> str:
    """For container flags, rounded up: 256m, 4g."""
    if mib > 512:
        return f"{-(-mib // 1024):.0f}g"
    power = 64
    while power < mib:
        power *= 2
    return f"{power}m"


def shortages(demand: Demand, offered: Capacity | Free) -> list[Shortage]:
    """What the step lacks even with its smallest number of cores."""
    resources = [
        ("cores", demand.cores_min, offered.cores),
        ("memory", demand.memory_mib(demand.cores_min), offered.memory_mib),
        ("scratch", demand.scratch_mib, offered.scratch_mib),
        ("shm", demand.shm_mib, None if offered.shm_mib is None else max(0, offered.shm_mib)),
    ]
    return [Shortage(what, needs, max(0, has)) for what, needs, has in resources if has is not None and needs > has]


def waits_for(short: Sequence[Shortage], worker: int) -> str:
    """Why a step does not start now."""
    parts = [f"{shortage.needed} ({shortage.available} free)" for shortage in short]
    return f"{' and '.join(parts)} on worker {worker}"


def never_fits(
    step: str, job: str, demand: Demand, capacities: Sequence[Capacity], asked_mib: int | None = None
) -> tuple[str, str]:
    """Summary and remedy for a step that no worker could run even when idle. Needs at least one capacity. `asked_mib`
    is the memory that the user's own input requests on each rank.
    """
    short = min((shortages(demand, capacity) for capacity in capacities), key=lambda short: (len(short), _gap(short)))
    needs = " and ".join(shortage.needed for shortage in short)
    has = " and ".join(shortage.available for shortage in short)
    fixes = ", ".join(map(_fix, short))
    if asked_mib is not None and any(shortage.what == "memory" for shortage in short):
        needs += f" because its input requests {asked_mib} MiB on each rank"
        other = demand.memory_mib(demand.cores_min) - demand.cores_min * asked_mib
        most = max((capacity.memory_mib - other) // demand.cores_min for capacity in capacities)
        if most > 0:
            fixes = f"request {most} MiB or less and submit it again; or {fixes}"
    return (
        f"{step} needs {needs}; the best worker has {has}",
        f"{fixes}; then `qmrunner release {job}`",
    )


def _gap(short: Sequence[Shortage]) -> float:
    return sum(shortage.needs / max(1, shortage.has) for shortage in short)


def _fix(shortage: Shortage) -> str:
    if shortage.what == "cores":
        return f"run the container with `--cpus {shortage.needs}` (and QMRUNNER_CORES not below it)"
    limit = shortage.needs / _OF_LIMIT[shortage.what]
    return {
        "memory": f"run the container with `--memory {flag_size(limit)}` (and QMRUNNER_MEMORY_MIB not below "
        f"{shortage.needs}), or on a machine with as much",
        "scratch": f"put QMRUNNER_SCRATCH on a volume of {size(limit)} or more",
        "shm": f"run the container with `--shm-size {flag_size(limit)}`",
    }[shortage.what]
