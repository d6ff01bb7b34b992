"""Assigns measured peaks to computed signals: the exact optimum in one dimension, in time signals × peaks.

The sum of squared differences is convex, so some best assignment keeps the order of the shifts, and a table over
prefixes of both lists finds it. Among equal sums the one with the later peak is taken, always the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Signal:
    """A computed signal: its shift in ppm, the atoms behind it, and whether they exchange (H on N, O and S)."""

    ppm: float
    atoms: tuple[int, ...]
    exchanges: bool = False


def match(
    signals: Sequence[Signal],
    peaks: Sequence[float],
    fixed: Mapping[int, int] | None = None,
    counts: Sequence[int | None] = (),
) -> list[int | None]:
    """The index of the peak of each signal; None for a signal that is not assigned.

    `fixed` gives the peak of signals that the user has assigned. Every other signal that does not exchange gets a
    peak: a separate one where there are enough, else several signals share peaks, and each peak has one at least.
    Signals that exchange get the peaks that are left, for their computed shifts prove nothing. Where every free peak
    has a count in `counts`, and an assignment has all of them, each peak takes signals with that many atoms.
    """
    found: list[int | None] = [None] * len(signals)
    for index, peak in (fixed or {}).items():
        found[index] = peak
    taken = {peak for peak in found if peak is not None}
    free = sorted((j for j in range(len(peaks)) if j not in taken), key=lambda j: (peaks[j], j))
    firm = _open(signals, found, exchanges=False)
    loose = _open(signals, found, exchanges=True)
    counted = _by_count(signals, peaks, counts, free, firm, loose)
    if counted is not None:
        for i, j in counted.items():
            found[i] = j
    elif len(firm) <= len(free):
        pairs = _ordered([signals[i].ppm for i in firm], [peaks[j] for j in free], share=False)
        _set(found, firm, free, pairs)
    else:
        must = set(free)
        # Too few peaks: those that the user assigned may take more signals.
        free = sorted((*must, *taken), key=lambda j: (peaks[j], j))
        optional = [j not in must for j in free]
        pairs = _ordered([signals[i].ppm for i in firm], [peaks[j] for j in free], share=True, optional=optional)
        _set(found, firm, free, pairs)
    taken = {peak for peak in found if peak is not None}
    left = [j for j in free if j not in taken]
    if loose and left:
        _assign_left(signals, peaks, loose, left, found)
    return found


def _set(found: list[int | None], which: Sequence[int], free: Sequence[int], pairs: Sequence[int | None]) -> None:
    for i, place in zip(which, pairs, strict=True):
        found[i] = None if place is None else free[place]


def _open(signals: Sequence[Signal], found: Sequence[int | None], *, exchanges: bool) -> list[int]:
    """Signals without a peak, in the order of their shifts."""
    chosen = [i for i, signal in enumerate(signals) if found[i] is None and signal.exchanges == exchanges]
    return sorted(chosen, key=lambda i: (signals[i].ppm, i))


def _assign_left(
    signals: Sequence[Signal], peaks: Sequence[float], loose: list[int], left: list[int], found: list[int | None]
) -> None:
    """Assign signals that exchange to peaks that are left, as many as possible, each at most one."""
    if len(loose) <= len(left):
        _set(found, loose, left, _ordered([signals[i].ppm for i in loose], [peaks[j] for j in left], share=False))
    else:
        pairs = _ordered([peaks[j] for j in left], [signals[i].ppm for i in loose], share=False)
        for j, place in zip(left, pairs, strict=True):
            if place is not None:
                found[loose[place]] = j


def _ordered(
    points: Sequence[float], places: Sequence[float], *, share: bool, optional: Sequence[bool] = ()
) -> list[int | None]:
    """For each of the ascending `points` its place among the ascending `places`, by the least sum of squares.

    With `share` every place that is not `optional` is used, by one point or more; without it each place is used once
    at most. No places, or too few, give None.
    """
    if not places or (not share and len(places) < len(points)):
        return [None] * len(points)
    skip = [not share or (bool(optional) and optional[j]) for j in range(len(places))]
    # closed[j]: the least cost with the points so far on places below j. at[i][j]: whether point i joins its
    # predecessor on place j. came[i][j]: whether closed[j] ends with point i on place j - 1.
    closed = [0.0]
    for j in range(len(places)):
        closed.append(closed[j] if skip[j] else _NEVER)
    joined: list[list[bool]] = []
    ended: list[list[bool]] = []
    before = [_NEVER] * len(places)
    for point in points:
        here: list[float] = []
        joins: list[bool] = []
        for j, place in enumerate(places):
            join = share and before[j] <= closed[j]
            here.append((point - place) ** 2 + (before[j] if join else closed[j]))
            joins.append(join)
        fresh, ends = [_NEVER], [False]
        for j in range(len(places)):
            skipped = fresh[j] if skip[j] else _NEVER
            ends.append(here[j] <= skipped)
            fresh.append(min(here[j], skipped))
        before, closed = here, fresh
        joined.append(joins)
        ended.append(ends)
    return _walked(joined, ended, len(places))


def _walked(joined: Sequence[Sequence[bool]], ended: Sequence[Sequence[bool]], last: int) -> list[int | None]:
    found: list[int | None] = [None] * len(joined)
    place, held = last, False
    for i in reversed(range(len(joined))):
        if not held:
            while not ended[i][place]:
                place -= 1
            place -= 1
        found[i] = place
        held = joined[i][place]
    return found


def _by_count(
    signals: Sequence[Signal],
    peaks: Sequence[float],
    counts: Sequence[int | None],
    free: Sequence[int],
    firm: Sequence[int],
    loose: Sequence[int],
) -> dict[int, int] | None:
    """The best assignment in which each peak takes neighbouring signals with as many atoms as its count, or is left for
    signals that exchange; None where the counts do not allow one."""
    wanted = [counts[j] if j < len(counts) else None for j in free]
    if not free or not firm or any(not count for count in wanted):
        return None
    sizes = [len(signals[i].atoms) for i in firm]
    spare = sum(count or 0 for count in wanted) - sum(sizes)
    if not 0 <= spare <= sum(len(signals[i].atoms) for i in loose):
        return None
    # By how many signals have a peak and how many atoms are left over: the least cost, and where each peak's run ends.
    ways: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {(0, 0): (0.0, ())}
    for j, count in zip(free, wanted, strict=True):
        after: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (at, left), (cost, ends) in ways.items():
            steps = [((at, left + (count or 0)), cost)] if left + (count or 0) <= spare else []
            end = _run(sizes, at, count or 0)
            if end is not None:
                steps.append(((end, left), cost + sum((signals[i].ppm - peaks[j]) ** 2 for i in firm[at:end])))
            for key, total in steps:
                if total < after.get(key, (_NEVER, ()))[0]:
                    after[key] = (total, (*ends, key[0]))
        ways = after
    if (len(firm), spare) not in ways:
        return None
    bounds = (0, *ways[len(firm), spare][1])
    return {i: j for j, start, end in zip(free, bounds[:-1], bounds[1:], strict=True) for i in firm[start:end]}


def _run(sizes: Sequence[int], at: int, count: int) -> int | None:
    """The end of the run of sizes from `at` on that adds up to `count`; None where there is none."""
    held = 0
    while at < len(sizes) and held < count:
        held += sizes[at]
        at += 1
    return at if held == count else None
