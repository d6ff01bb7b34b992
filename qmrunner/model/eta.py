"""When a step will end, from its own progress. Pure: shares of the work and times in, a range out.

Each progress line of an engine has the share of the work that is done (`Progress.done`, from the known make-up of such
runs). The time per share is that of this run so far. The range is wide at first and narrows.
"""

from __future__ import annotations

from dataclasses import dataclass

from qmrunner.model import text

# No forecast below this share of the work and this run time.
_LEAST_DONE, _LEAST_S = 0.04, 0.05
# Relative uncertainty of the time left: near the end, and what is added at the start.
_SPREAD_AT_END, _SPREAD_MORE = 0.3, 0.4


@dataclass(frozen=True, slots=True)
class Ending:
    """When a step is expected to end: the earliest and the latest, Unix seconds."""

    low_at: float
    high_at: float


class Forecast:
    """The forecast for one attempt. `begun_at` is when its work began (Unix seconds); None: at the first progress."""

    def __init__(self, begun_at: float | None = None) -> None:
        self._begun_at = begun_at

    def update(self, at: float, done: float | None) -> Ending | None:
        """The forecast after a progress line written `at` (Unix seconds) with this share of the work done."""
        if self._begun_at is None:
            self._begun_at = at
        took = at - self._begun_at
        if done is None or done < _LEAST_DONE or took < _LEAST_S:
            return None
        left = took * (1.0 - min(done, 1.0)) / done
        spread = _SPREAD_AT_END + _SPREAD_MORE * (1.0 - min(done, 1.0))
        return Ending(at + left * (1.0 - spread), at + left * (1.0 + spread))


def in_words(ending: Ending, now: float) -> str:
    """``about 4 to 7 minutes left``."""
    return text.time_left_between(ending.low_at - now, ending.high_at - now)
