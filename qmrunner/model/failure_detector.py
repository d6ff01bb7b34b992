"""When a worker on another machine is declared lost. Pure: observations in, verdicts out.

Each worker increments a counter with every heartbeat. The failure detector of another worker watches that counter on
its own monotonic clock. Time without a change counts only while the detector's own heartbeats succeed, so an
unreachable store makes no worker look dead. No wall clocks are compared, so neither skew nor a clock step can make a
living worker look dead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STARTING_S = 60.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """The beat of one worker, and since when it has not changed: monotonic s, and the detector's own beat then."""

    beat: int
    since: float
    own_beat: int


class FailureDetector:
    """Watches the beats of other workers. One per process that watches."""

    def __init__(self, lease_s: float, heartbeat_s: float) -> None:
        self._lease_s = lease_s
        # One of the detector's own beats may be late at either end of the lease.
        self._own_beats = max(1, int(lease_s / heartbeat_s) - 2)
        self._seen: dict[int, Sighting] = {}

    def observe(self, beats: Iterable[tuple[int, int]], own_beat: int, now: float) -> list[tuple[int, int]]:
        """Those of the given (worker id, beat) whose lease has expired. Called with the beats of all other workers.

        A worker without any beat is still starting, and has at least `STARTING_S`.
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
