"""`qmrunner run --until-idle --walltime …`: a worker that ends by itself, as a job of a batch system.

The supervisor stops the daemon when the wall time is over, as on SIGTERM. The consumer, which knows its attempts, ends
when it has nothing to do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from qmrunner.model import walltime
from qmrunner.model.jobs import Step

# Ready steps that this idle worker has not claimed for so long do not fit it: too large, paused, or other labels.
_NOT_FOR_US_S = 30.0


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When the worker ends. `ends_at` is on this machine's monotonic clock, `usable_s` seconds after the start."""

    until_idle: bool = False
    usable_s: float | None = None
    ends_at: float | None = None

    @classmethod
    def lasting(cls, until_idle: bool, walltime_s: float | None, stop_grace_s: float) -> Lifetime:
        """A lifetime that starts now. Raises ValueError when the stop grace leaves nothing of the wall time."""
        if walltime_s is None:
            return cls(until_idle)
        usable = walltime.usable_s(walltime_s, stop_grace_s)
        return cls(until_idle, usable, time.monotonic() + usable)

    @classmethod
    def from_words(cls, words: list[str]) -> Lifetime:
        """Parse the arguments that `words` made."""
        until_idle, usable, ends_at = words
        return cls(until_idle == "1", float(usable) if usable else None, float(ends_at) if ends_at else None)

    def words(self) -> list[str]:
        """Arguments for the consumer's command line."""
        return [str(int(self.until_idle)), str(self.usable_s or ""), str(self.ends_at or "")]

    def left_s(self) -> float | None:
        return None if self.ends_at is None else self.ends_at - time.monotonic()

    def is_over(self) -> bool:
        left = self.left_s()
        return left is not None and left <= 0

    def is_worth_it(self, step: Step, expected_s: float | None) -> bool:
        left = self.left_s()
        if left is None or self.usable_s is None:
            return True
        return walltime.is_worth_it(left, self.usable_s, expected_s, step.engine, step.task, step.params)


class IdleWatch:
    """Decides when nothing is left to wait for. Steps on other workers may create more steps: an ensemble fans out."""

    def __init__(self) -> None:
        self._idle_since: float | None = None

    def is_done(self, running: bool, anything_ready: bool, anything_delayed: bool) -> bool:
        """Call every second. `running`: by any worker; `anything_delayed`: a retry whose delay has not passed."""
        if running:
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or time.monotonic()
        if anything_ready:
            return time.monotonic() - self._idle_since > _NOT_FOR_US_S
        return not anything_delayed
