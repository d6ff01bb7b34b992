"""Choosing a ready step that fits, and the size of its grant. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qmrunner.model.jobs import Demand, Grant

# Once this many later steps have started ahead of a step that fits an idle worker, that step is started first.
MAX_SKIPS = 8


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one worker can grant in total, and its labels. An unknown size (None) is no limit.

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
    """The part of a capacity that is free."""

    slots: int
    cores: int
    memory_mib: int
    scratch_mib: int | None = None
    shm_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ready step as packing sees it, in the order of priority. `skips`: how often a later one started first."""

    step_id: int
    demand: Demand
    skips: int = 0


def choose(candidates: Sequence[Candidate], free: Free, wanted: int | None = None) -> tuple[Candidate, Grant] | None:
    """The first candidate that fits, with its grant, or None.

    Cores are moldable. `wanted` is the best number of them (see `core_allocation`; 0: wait for more); without it
    the free cores are divided among the steps that could run now: many steps get few cores each, a single one gets all
    that it can use. No candidate after one with `MAX_SKIPS` skips is chosen: running steps end until that one fits. So
    every candidate must fit an idle worker. Candidates without cores need no slot, and do not wait for skipped ones.
    """
    closed = free.slots < 1 or wanted == 0
    with_slot = sum(candidate.demand.takes_slot for candidate in candidates)
    share = wanted or max(1, free.cores // max(1, min(with_slot, free.slots)))
    for candidate in candidates:
        if closed and candidate.demand.takes_slot:
            continue
        cores = grant_cores(candidate.demand, free, share)
        if cores is not None:
            demand = candidate.demand
            return candidate, Grant(cores, demand.memory_mib(cores), demand.scratch_mib, demand.shm_mib)
        closed = closed or candidate.skips >= MAX_SKIPS
    return None


def grant_cores(demand: Demand, free: Free, share: int) -> int | None:
    """How many cores the step gets if its share is `share` cores, or None if it does not fit."""
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
