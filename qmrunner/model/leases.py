"""When a worker elsewhere is called lost. Pure: observations in, verdicts out.

A worker is judged by a counter that only grows, watched by the judge itself on its own monotonic clock. Standing still
counts only while the judge's own beats went through: a store that answers nobody condemns nobody. No wall clock is
compared, so no skew and no clock step can condemn a living worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STARTING_S = 60.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """The beat of one worker, and since when (monotonic s, and the judge's own beat then) it has not changed."""

    beat: int
    since: float
    own_beat: int


class FailureDetector:
    """Watches the beats of other workers. One per judging process."""

    def __init__(self, lease_s: float, heartbeat_s: float) -> None:
        self._lease_s = lease_s
        # One beat of ours may be late at either end of the lease.
        self._own_beats = max(1, int(lease_s / heartbeat_s) - 2)
        self._seen: dict[int, Sighting] = {}

    def observe(self, beats: Iterable[tuple[int, int]], own_beat: int, now: float) -> list[tuple[int, int]]:
        """Take in (worker id, beat) of all others; returns those (id, beat) whose lease has run out.

        A worker that has never beaten is still starting, and has at least `STARTING_S`.
        """
        current = dict(beats)
        self._seen = {worker: seen for worker, seen in self._seen.items() if current.get(worker) == seen.beat}
        lost = []
        for worker, beat in current.items():
            seen = self._seen.setdefault(worker, Sighting(beat, now, own_beat))
            allowed_s = self._lease_s if beat else max(self._lease_s, STARTING_S)
            if now - seen.since >= allowed_s and own_beat - seen.own_beat >= self._own_beats:
                lost.append((worker, beat))
        return lost
