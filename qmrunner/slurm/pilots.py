"""How many pilots a store needs, from its open steps and the pilots that Slurm has. Pure.

A waiting pilot starts after the job was stored, so it finds it. A running one may have looked for the last time and be
about to end, so a job that only running pilots could take also gets a successor: it starts when they have all ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qmrunner.model.jobs import Demand

# What `squeue --format` is asked for, and the states it prints (squeue(1), JOB STATE CODES).
FORMAT = "%i|%T|%C|%r"
_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED"})
_RUNNING = frozenset({"RUNNING", "RESIZING", "SIGNALING"})
_HELD = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT"})
# Reasons for which a pending job never starts by itself.
_STUCK = re.compile(
    r".*held.*|DependencyNeverSatisfied|BadConstraints|Invalid.*|.*Not(Allowed|Permitted)|Partition(Time|Node)Limit",
    re.I,
)


@dataclass(frozen=True, slots=True)
class SlurmPilot:
    """A pilot that Slurm has: an element of an array counts as one. `stuck`: why it never starts by itself."""

    job: str
    waits: bool
    cores: int
    stuck: str | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """Pilots to start: `new` now, and a `successor` of the running ones."""

    new: int = 0
    successor: bool = False


def read(text: str) -> list[SlurmPilot]:
    """The pilots in the output of `squeue --array`. Suspended and ending ones are left out: they take no work."""
    found = []
    for line in text.splitlines():
        job, state, cores, reason = [*(part.strip() for part in line.split("|", 3)), "", "", "", ""][:4]
        if state in _WAITING or state in _RUNNING:
            stuck = reason if state in _WAITING and _STUCK.fullmatch(reason) else None
            found.append(SlurmPilot(job, state in _WAITING, int(cores) if cores.isdigit() else 1, stuck))
        elif state in _HELD:
            found.append(SlurmPilot(job, True, 1, state))
    return found


def useful_cores(jobs: Iterable[tuple[Sequence[Demand], Sequence[Demand]]], each: int, most: int) -> int:
    """Cores that unfinished jobs can use at the same time, in pilots of `each` cores; counts no further than `most`.

    `jobs` has, for each job, the demands of its steps that are ready or running, and of those that wait for them. A job
    counts as its ready steps side by side, or as its largest step, whichever is more.
    """
    total = 0
    for ready, later in jobs:
        side_by_side = sum(_cores(demand, each) for demand in ready)
        total += max([side_by_side, *(_cores(demand, each) for demand in later)])
        if total >= most:
            return most
    return total


def needed(pilots: Sequence[SlurmPilot], useful: int, each: int, most: int) -> Need:
    """The pilots to start so that `useful` cores work, with at most `most` pilots in all."""
    alive = [pilot for pilot in pilots if pilot.stuck is None]
    if useful <= 0:
        return Need()
    if not alive:
        return Need(max(1, min(-(-useful // each), most)))
    new = min(-(-(useful - sum(pilot.cores for pilot in alive)) // each), most - len(alive))
    if new > 0:
        return Need(new)
    return Need(successor=not any(pilot.waits for pilot in alive))


def _cores(demand: Demand, each: int) -> int:
    return max(min(demand.cores_max, each), min(demand.cores_min, each))
