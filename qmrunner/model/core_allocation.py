"""How many cores a moldable step gets, and when to wait for more: chosen by playing the rest of its stage through.

Steps of one stage take about equally long. With many of them few cores each waste least; the last ones want more. For
each width the rest of the stage is played, and the one that ends first wins; starting at once wins a tie. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

# Speed on k cores over speed on one.
Speedup = Callable[[int], float]
# What more cores bring where nothing was measured: Amdahl's law with this part of the work left serial.
SERIAL_PART = 0.04
# Waiting costs cores for certain and gains by estimate: it must promise this much of what is left.
_WORTH_WAITING = 0.05
_MEASURED_AT_LEAST = 2
_OVERDUE = 0.2
# Ends that are no further apart than this part of a step on one core count as one: a plan may wait that long.
_TOGETHER = 0.05


@dataclass(frozen=True, slots=True)
class Busy:
    """An attempt that runs: its cores come back after about `remaining_s`."""

    cores: int
    remaining_s: float


def remaining_s(expected_s: float, elapsed_s: float) -> float:
    """What an attempt still takes; one that is overdue is not taken to be about to end."""
    return max(expected_s - elapsed_s, _OVERDUE * elapsed_s)


@dataclass(frozen=True, slots=True)
class Stage:
    """Equal steps that wait: how many, the least and most cores of each, and about how many seconds one core takes."""

    waiting: int
    cores_min: int
    cores_max: int
    one_core_s: float


def amdahl(cores: int) -> float:
    """The speed-up assumed where none was measured."""
    return 1.0 / (SERIAL_PART + (1.0 - SERIAL_PART) / cores)


def measured(seconds: Mapping[int, Sequence[float]]) -> Speedup:
    """A speed-up curve from seconds of equal work by number of cores; medians, straight lines between them.

    Beyond the widest measured count, and where one core was not measured, the assumed curve is scaled to fit.
    """
    known = {cores: median(found) for cores, found in seconds.items() if len(found) >= _MEASURED_AT_LEAST}
    if 1 not in known or len(known) < 2:
        return amdahl
    points = {cores: known[1] / known[cores] for cores in sorted(known)}
    widest = max(points)

    def speedup(cores: int) -> float:
        if cores >= widest:
            return points[widest] * amdahl(cores) / amdahl(widest)
        below = max(count for count in points if count <= cores)
        above = min(count for count in points if count >= cores)
        if below == above:
            return points[below]
        share = (cores - below) / (above - below)
        return points[below] + share * (points[above] - points[below])

    return speedup


def cores_now(stage: Stage, free: int, busy: Sequence[Busy], slots: int, speedup: Speedup = amdahl) -> int:
    """How many of the `free` cores the next step of `stage` gets now; 0: it had better wait for those in `busy`.

    `slots` is how many more steps may run side by side. Only the ratio of `one_core_s` to the times in `busy` matters.
    """
    if stage.waiting < 1 or slots < 1 or free < stage.cores_min:
        return 0
    total = free + sum(one.cores for one in busy)
    most = min(stage.cores_max, total)
    plays = [_play(stage, width, free, busy, slots, speedup) for width in range(min(stage.cores_min, most), most + 1)]
    end, cores = min(play for play in plays if play[1])
    if busy and min(plays)[0] < (1.0 - _WORTH_WAITING) * end:
        return 0
    return cores


def _play(stage: Stage, width: int, free: int, busy: Sequence[Busy], slots: int, speedup: Speedup) -> tuple[float, int]:
    """When the last step ends if each gets `width` cores, the last ones what is over; and what the first gets now."""
    running = [(one.remaining_s, one.cores) for one in busy]
    heapq.heapify(running)
    now, waiting, room, first = 0.0, stage.waiting, slots, None
    end = max((one.remaining_s for one in busy), default=0.0)
    while waiting:
        while waiting and room and free >= width:
            side_by_side = max(1, min(waiting, room, free // width))
            cores = min(stage.cores_max, max(width, free // side_by_side if waiting <= side_by_side else width))
            first = cores if first is None else first
            heapq.heappush(running, (now + stage.one_core_s / speedup(cores), cores))
            free, waiting, room = free - cores, waiting - 1, room - 1
        first = 0 if first is None else first
        if not waiting or not running:
            break
        soon = running[0][0] + _TOGETHER * stage.one_core_s
        while running and running[0][0] <= soon:
            now, cores = heapq.heappop(running)
            free, room = free + cores, room + 1
        end = max(end, now)
    return max([end, *(at for at, _ in running)]), first or 0
