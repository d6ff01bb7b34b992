"""Remedies that several engines share: fewer ranks or threads, more memory. See `model.remedies`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qmrunner.model.remedies import Change, Failure

_MORE = 2.0
_WORTH_IT = 1.2


def fewer(what: str) -> Callable[[Failure], Change | None]:
    """Half as many "ranks" or "threads" (`what`) with the memory of all of them: more for each, less in total use."""

    def change(failure: Failure) -> Change | None:
        demand, held = failure.step.demand, failure.grant.cores
        cores = max(demand.cores_min, held // 2)
        if cores >= held:
            return None
        # Within this worker's capacity: a demand that fits no worker would be held.
        all_of_it = min(demand.memory_mib(held), max(failure.capacity.memory_mib, demand.memory_mib(cores)))
        spare = all_of_it - demand.memory_mib(cores)
        return Change(
            f"{cores} {what if cores > 1 else what[:-1]} instead of {held}, with the memory of all",
            demand=replace(demand, cores_max=cores, memory_mib_base=demand.memory_mib_base + spare),
        )

    return change


def more_memory(failure: Failure) -> Change | None:
    """Twice the memory for each core, within this worker's capacity: a demand that fits no worker would be held."""
    demand = failure.step.demand
    room = (failure.capacity.memory_mib - demand.memory_mib_base) // demand.cores_min
    wanted = min(int(demand.memory_mib_per_core * _MORE), room)
    if wanted < demand.memory_mib_per_core * _WORTH_IT:
        return None
    return Change(
        f"{wanted} MiB for each core instead of {demand.memory_mib_per_core}",
        demand=replace(demand, memory_mib_per_core=wanted),
    )
