"""A worker with a wall time: when it stops, and which steps are still worth starting. Pure.

Two rules. A step is worth starting if, by earlier measurements, it ends in the time left, or if its work is kept in
checkpoints. In the last twentieth of the time only steps that are expected to end are started.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Between the end of the stop grace and the wall time, for the batch scheduler's own work.
MARGIN_S = 5.0
_SLACK = 1.25
_LAST_PART = 0.05
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CLOCK = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d\d)")
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?")
_ENDLESS = ("unlimited", "infinite")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
# Attempts of these keep checkpoints; all others start from the beginning.
_RESUMABLE = frozenset({("nwchem", "optimise"), ("nwchem", "shielding")})
_RESUMES = "resumes"  # param of a user's deck that can resume


def parse(text: str) -> float | None:
    """Seconds of `90`, `90m`, `4h`, `1d`, or as Slurm writes them: `MM:SS`, `HH:MM:SS`, `D-HH:MM:SS`, `D-HH:MM`,
    `D-HH`. None: `UNLIMITED`. Raises ValueError."""
    if text.lower() in _ENDLESS:
        return None
    clock, days_only, number = _CLOCK.fullmatch(text), _DAYS.fullmatch(text), _NUMBER.fullmatch(text)
    if clock:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    elif days_only:
        days, hours, minutes = (int(part or 0) for part in days_only.groups())
        seconds = 0
    elif number:
        return float(number[1]) * _UNITS[number[2] or "s"]
    else:
        raise ValueError(
            f"expected a length of time such as 90m, 4h, HH:MM:SS or D-HH:MM:SS, or UNLIMITED, got {text!r}"
        )
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def usable_s(walltime_s: float, stop_grace_s: float) -> float:
    """The part of the wall time that is left for computing after the time for stopping. Raises ValueError if none
    is."""
    left = walltime_s - stop_grace_s - MARGIN_S
    if left <= 0:
        raise ValueError(
            f"{walltime_s:g} s leave no time besides QMRUNNER_STOP_GRACE_SECONDS={stop_grace_s:g} and {MARGIN_S:g} s"
        )
    return left


def is_worth_it(
    left_s: float,
    usable: float,
    expected_s: float | None,
    engine: str,
    task: str,
    params: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Whether to start a step with `left_s` of `usable` seconds left; `expected_s` is None without measurements."""
    if expected_s is not None and expected_s * _SLACK <= left_s:
        return True
    if expected_s is not None and expected_s <= left_s and left_s >= (1 - _LAST_PART) * usable:
        return True  # a worker like this one never has more time left than now
    kept = expected_s is None or (engine, task) in _RESUMABLE or bool(params.get(_RESUMES))
    return kept and left_s >= _LAST_PART * usable
