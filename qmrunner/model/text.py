"""Durations as people read them. Pure."""

from __future__ import annotations


def duration(seconds: float, digits: int = 0) -> str:
    """``8 s``, ``3 min 05 s``, ``2 h 10 min``; below one minute with `digits` decimals."""
    if round(seconds, digits) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def time_left(seconds: float) -> str:
    """``about 12 minutes left``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    if minutes < 90:
        return f"about {minutes} minute{'s' if minutes > 1 else ''} left"
    return f"about {minutes / 60:.1f} hours left"


def time_left_between(low_s: float, high_s: float) -> str:
    """``about 4 to 7 minutes left``."""
    low_s = max(0.0, low_s)
    if high_s <= 0.0:
        return "expected to have ended by now"
    for unit, seconds, digits in (("hours", 3600.0, 1), ("minutes", 60.0, 0), ("seconds", 1.0, 0)):
        if high_s >= 1.5 * seconds or unit == "seconds":
            step = 5.0 if unit == "seconds" and high_s >= 30.0 else 1.0  # the estimate is not more precise than this
            low, high = (f"{round(value / seconds / step, digits) * step:.{digits}f}" for value in (low_s, high_s))
            if float(high) < 1.0:
                return "about a second left"
            if float(low) == 0.0:
                return f"at most {high} {unit if high != '1' else unit[:-1]} left"
            return f"about {high} {unit} left" if low == high else f"about {low} to {high} {unit} left"
    raise AssertionError("the unit of seconds always applies")
