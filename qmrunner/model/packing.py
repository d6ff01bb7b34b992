"""What fits: choosing a ready step and the size of its grant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmrunner.model.jobs import Demand, Grant

# A step that could run here but for steps that started ahead of it this often: from then on it goes first.
MAX_SKIPS = 8


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one worker may hand out in total, and its labels. A size that could not be told (None) limits nothing.

    `scratch_volume` and `shm_volume` name the filesystems: workers with the same name share what is on it.
    """

    slots: int
    cores: int
    memory_mib: int
    scratch_mib: int | None = None
    shm_mib: int | None = None
    scratch_volume: str | None = None
    shm_volume: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Free:
    """What is left of it."""

    slots: int
    cores: int
    memory_mib: int
    scratch_mib: int | None = None
    shm_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ready step as packing sees it, in the order of priority. `passed_over`: how often a later one went ahead."""

    step_id: int
    demand: Demand
    skips: int = 0


def choose(candidates: Sequence[Candidate], free: Free, wanted: int | None = None) -> tuple[Candidate, Grant] | None:
    """The first candidate that fits, with its grant, or None.

    Cores are moldable. `wanted` of them were found best (see `molding`; 0: to wait for more); else the free cores are
    divided among the steps that could run now, so that many get few cores each and a lone one all that it can use.
    Behind a candidate that was passed over `MAX_SKIPS` times nothing is chosen: what runs ends, until that one fits. So
    every candidate must be one that fits once nothing else runs.
    """
    if free.slots < 1 or wanted == 0:
        return None
    share = wanted or max(1, free.cores // max(1, min(len(candidates), free.slots)))
    for candidate in candidates:
        cores = grant_cores(candidate.demand, free, share)
        if cores is not None:
            demand = candidate.demand
            return candidate, Grant(cores, demand.memory_mib(cores), demand.scratch_mib, demand.shm_mib)
        if candidate.skips >= MAX_SKIPS:
            return None
    return None


def grant_cores(demand: Demand, free: Free, share: int) -> int | None:
    """How many cores the step gets when its share is so many, or None when it does not fit."""
    if not has_space(demand, free):
        return None
    cores = max(demand.cores_min, min(demand.cores_max, share))
    while cores > demand.cores_min and demand.memory_mib(cores) > free.memory_mib:
        cores -= 1
    if cores > free.cores or demand.memory_mib(cores) > free.memory_mib:
        return None
    return cores


def has_space(demand: Demand, offered: Capacity | Free) -> bool:
    """Whether scratch and shared memory suffice."""
    return (offered.scratch_mib is None or demand.scratch_mib <= offered.scratch_mib) and (
        offered.shm_mib is None or demand.shm_mib <= max(0, offered.shm_mib)
    )


def can_ever_fit(demand: Demand, capacity: Capacity | Free) -> bool:
    """Whether the step fits when nothing else runs."""
    least = demand.memory_mib(demand.cores_min)
    return demand.cores_min <= capacity.cores and least <= capacity.memory_mib and has_space(demand, capacity)
