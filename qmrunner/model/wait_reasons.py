"""What a step lacks, in numbers and in words: why it waits, or why it can never run, and what to paste then. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity, Free

_NAMES = {"memory": "memory", "scratch": "scratch", "shm": "/dev/shm"}
# Of a container's memory the tenth is left to the daemon and the page cache; of shared memory and scratch a twentieth.
_OF_LIMIT = {"memory": 0.9, "scratch": 0.95, "shm": 0.95}


@dataclass(frozen=True, slots=True)
class Shortage:
    """One thing there is too little of; `needs` and `has` are cores, or MiB."""

    what: str
    needs: int
    has: int

    @property
    def needed(self) -> str:
        return f"{self.needs} core(s)" if self.what == "cores" else f"{size(self.needs)} of {_NAMES[self.what]}"

    @property
    def there(self) -> str:
        return str(self.has) if self.what == "cores" else size(self.has)


def size(mib: float) -> str:
    """For people: 64 MiB, 3.5 GiB."""
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
    """What the step lacks when it takes as few cores as it can."""
    wanted = [
        ("cores", demand.cores_min, offered.cores),
        ("memory", demand.memory_mib(demand.cores_min), offered.memory_mib),
        ("scratch", demand.scratch_mib, offered.scratch_mib),
        ("shm", demand.shm_mib, None if offered.shm_mib is None else max(0, offered.shm_mib)),
    ]
    return [Shortage(what, needs, max(0, has)) for what, needs, has in wanted if has is not None and needs > has]


def waits_for(short: Sequence[Shortage], worker: int) -> str:
    """Why a step does not start now."""
    parts = [f"{one.needed} ({one.there} free)" for one in short]
    return f"{' and '.join(parts)} on worker {worker}"


def never_fits(
    step: str, job: str, demand: Demand, capacities: Sequence[Capacity], asked_mib: int | None = None
) -> tuple[str, str]:
    """Summary and remedy for a step that no worker could run even when idle. Needs at least one capacity. `asked_mib`
    is what the user's own input asks for on each rank.
    """
    short = min((shortages(demand, one) for one in capacities), key=lambda found: (len(found), _gap(found)))
    needs = " and ".join(one.needed for one in short)
    has = " and ".join(one.there for one in short)
    fixes = ", ".join(_fix(one) for one in short)
    if asked_mib is not None and any(one.what == "memory" for one in short):
        needs += f", for its input asks for {asked_mib} MiB on each rank"
        beside = demand.memory_mib(demand.cores_min) - demand.cores_min * asked_mib
        most = max((one.memory_mib - beside) // demand.cores_min for one in capacities)
        if most > 0:
            fixes = f"ask for {most} MiB or less and submit it again; or {fixes}"
    return (
        f"{step} needs {needs}; the worker that comes nearest has {has}",
        f"{fixes}; then `qmrunner release {job}`",
    )


def _gap(short: Sequence[Shortage]) -> float:
    return sum(one.needs / max(1, one.has) for one in short)


def _fix(one: Shortage) -> str:
    if one.what == "cores":
        return f"run the container with `--cpus {one.needs}` (and QMRUNNER_CORES not below it)"
    wanted = one.needs / _OF_LIMIT[one.what]
    return {
        "memory": f"run the container with `--memory {flag_size(wanted)}` (and QMRUNNER_MEMORY_MIB not below "
        f"{one.needs}), or on a machine with as much",
        "scratch": f"put QMRUNNER_SCRATCH on a volume of {size(wanted)} or more",
        "shm": f"run the container with `--shm-size {flag_size(wanted)}`",
    }[one.what]
