"""How many cores a moldable step gets, and when it waits for more. Pure.

The steps of one stage take about equally long. While many steps are left, few cores for each waste the least; the last
steps should get more. For each number of cores per step (the width) the rest of the stage is simulated, and the width
that ends first is chosen. If waiting and starting now end at the same time, the step starts now.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

# Speed on k cores over speed on one.
Speedup = Callable[[int], float]
# Without measurements the speed-up follows Amdahl's law with this serial part of the work.
SERIAL_PART = 0.04
# Waiting certainly wastes cores and its gain is an estimate, so it must save this part of the remaining time.
_WORTH_WAITING = 0.05
_MEASURED_AT_LEAST = 2
_OVERDUE = 0.2
# Ends no further apart than this part of a step's one-core time count as simultaneous: a plan may wait that long.
_TOGETHER = 0.05


@dataclass(frozen=True, slots=True)
class Busy:
    """A running attempt: its cores become free after about `remaining_s`."""

    cores: int
    remaining_s: float


def remaining_s(expected_s: float, elapsed_s: float) -> float:
    """Estimated seconds until an attempt ends. An overdue attempt is not assumed to end soon."""
    return max(expected_s - elapsed_s, _OVERDUE * elapsed_s)


@dataclass(frozen=True, slots=True)
class Stage:
    """Equal waiting steps: their number, the least and most cores of each, and its estimated seconds on one core."""

    waiting: int
    cores_min: int
    cores_max: int
    one_core_s: float


def amdahl(cores: int) -> float:
    """The speed-up that is assumed without measurements."""
    return 1.0 / (SERIAL_PART + (1.0 - SERIAL_PART) / cores)


def measured(seconds: Mapping[int, Sequence[float]]) -> Speedup:
    """A speed-up curve from seconds of equal work by number of cores; medians, straight lines between them.

    Beyond the widest measured count, and where one core was not measured, the assumed curve is scaled to fit.
    """
    known = {cores: median(durations) for cores, durations in seconds.items() if len(durations) >= _MEASURED_AT_LEAST}
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
    """How many of the `free` cores the next step of `stage` gets now; 0 to wait for cores of the attempts in `busy`.

    `slots` is how many more steps may run side by side. Only the ratio of `one_core_s` to the times in `busy` matters.
    """
    if stage.waiting < 1 or slots < 1 or free < stage.cores_min:
        return 0
    total = free + sum(attempt.cores for attempt in busy)
    most = min(stage.cores_max, total)
    simulated = [
        _simulate(stage, width, free, busy, slots, speedup) for width in range(min(stage.cores_min, most), most + 1)
    ]
    end, cores = min(outcome for outcome in simulated if outcome[1])
    if busy and min(simulated)[0] < (1.0 - _WORTH_WAITING) * end:
        return 0
    return cores


def _simulate(
    stage: Stage, width: int, free: int, busy: Sequence[Busy], slots: int, speedup: Speedup
) -> tuple[float, int]:
    """When the last step ends if each gets `width` cores and the last ones share the rest; and the first step's
    cores."""
    running = [(attempt.remaining_s, attempt.cores) for attempt in busy]
    heapq.heapify(running)
    now, waiting, slots_left, first = 0.0, stage.waiting, slots, None
    end = max((attempt.remaining_s for attempt in busy), default=0.0)
    while waiting:
        while waiting and slots_left and free >= width:
            side_by_side = max(1, min(waiting, slots_left, free // width))
            cores = min(stage.cores_max, max(width, free // side_by_side if waiting <= side_by_side else width))
            first = cores if first is None else first
            heapq.heappush(running, (now + stage.one_core_s / speedup(cores), cores))
            free, waiting, slots_left = free - cores, waiting - 1, slots_left - 1
        first = 0 if first is None else first
        if not waiting or not running:
            break
        soon = running[0][0] + _TOGETHER * stage.one_core_s
        while running and running[0][0] <= soon:
            now, cores = heapq.heappop(running)
            free, slots_left = free + cores, slots_left + 1
        end = max(end, now)
    return max([end, *(at for at, _ in running)]), first or 0
