"""What fits: choosing a ready step and the size of its grant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmrunner.model.jobs import Demand, Grant


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one worker may hand out in total."""

    slots: int
    cores: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Free:
    """What is left of it."""

    slots: int
    cores: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ready step as packing sees it, in the order of priority."""

    step_id: int
    demand: Demand


def choose(candidates: Sequence[Candidate], free: Free, wanted: int | None = None) -> tuple[Candidate, Grant] | None:
    """The first candidate that fits, with its grant, or None.

    Cores are moldable. `wanted` of them were found best (see `molding`; 0: to wait for more); else the free cores are
    divided among the steps that could run now, so that many get few cores each and a lone one all that it can use.
    """
    if free.slots < 1 or wanted == 0:
        return None
    share = wanted or max(1, free.cores // max(1, min(len(candidates), free.slots)))
    for candidate in candidates:
        cores = grant_cores(candidate.demand, free, share)
        if cores is not None:
            demand = candidate.demand
            return candidate, Grant(cores, demand.memory_mib(cores), demand.scratch_mib, demand.shm_mib)
    return None


def grant_cores(demand: Demand, free: Free, share: int) -> int | None:
    """How many cores the step gets when its share is so many, or None when it does not fit."""
    cores = max(demand.cores_min, min(demand.cores_max, share))
    while cores > demand.cores_min and demand.memory_mib(cores) > free.memory_mib:
        cores -= 1
    if cores > free.cores or demand.memory_mib(cores) > free.memory_mib:
        return None
    return cores


def can_ever_fit(demand: Demand, capacity: Capacity) -> bool:
    return demand.cores_min <= capacity.cores and demand.memory_mib(demand.cores_min) <= capacity.memory_mib
