"""Facts to words: numbers with their units, ages, states. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from qmrunner.model.text import duration

# State of a job, step or attempt → the word shown, which is also its class, and its shape.
STATES = {
    "queued": "waiting", "waiting": "waiting", "ready": "waiting",
    "claimed": "running", "running": "running", "active": "running",
    "held": "held", "draining": "held", "paused": "held", "stopped": "held",
    "succeeded": "succeeded", "failed": "failed",
    "cancelled": "cancelled", "skipped": "cancelled", "ended": "cancelled",
    "lost": "lost", "stale": "lost", "interrupted": "lost",
}  # fmt: skip
SHAPES = {
    "waiting": "○", "running": "▶", "held": "‖", "succeeded": "✓", "failed": "✗", "cancelled": "⊘", "lost": "?",
}  # fmt: skip
_CODE = re.compile(r"`([^`\n]{1,200})`")
_AS_THEMSELVES = ("skipped", "draining", "stale", "stopped", "ended", "paused", "interrupted")
KINDS = ("nmr", "conformers", "nwchem", "xtb", "crest", "huey")
WORDS: dict[str, Any] = {"STATES": STATES, "SHAPES": SHAPES, "KINDS": KINDS}


def state(word: object, *, says: str | None = None) -> Markup:
    """A state by colour, shape and word."""
    name = str(word)
    kind = STATES.get(name, "lost")
    shown = says or (name if name in _AS_THEMSELVES else kind)
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, SHAPES[kind], shown
    )


def unix(moment: str | float | None) -> float | None:
    """Unix seconds of an ISO 8601 time or of such a number."""
    if moment is None or isinstance(moment, int | float):
        return moment
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def utc(seconds: float) -> str:
    """A time of day and date in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@pass_context
def age(context: Context, moment: str | float | None, after: str = " ago") -> Markup:
    """How long ago this was; the browser keeps it up to date."""
    at = unix(moment)
    if at is None:
        return Markup("–")
    now = context.get("now")
    shown = "" if now is None else f"{duration(max(0.0, now - at))}{after}"
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}" data-age="{:.0f}" data-after="{}" title="{}">{}</time>').format(
        stamp, at, after, utc(at), shown
    )


def clock(moment: str | float | None) -> Markup:
    """A time; the browser shows it in its own zone, with UTC in the title."""
    at = unix(moment)
    if at is None:
        return Markup("–")
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}" data-clock title="{}">{}</time>').format(stamp, utc(at), utc(at))


def mib(value: float | None) -> str:
    """An amount of memory or disk, in GiB from 10,000 MiB on."""
    if value is None:
        return "–"
    return f"{value / 1024:,.1f} GiB" if value >= 10_000 else f"{value:,.0f} MiB"


def size(count: int | None) -> str:
    """A number of bytes."""
    if count is None:
        return "–"
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= step:
            return f"{count / step:,.1f} {unit}"
    return f"{count} B"


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with this many decimals, with a true minus sign."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def span(seconds: float | None) -> str:
    """A time span in words."""
    return "–" if seconds is None else duration(max(0.0, seconds))


def took(row: Mapping[str, Any]) -> str:
    """How long a step, attempt or job took; a dash before its end."""
    began, ended = unix(row.get("started_at")), unix(row.get("finished_at"))
    return "–" if began is None or ended is None else span(ended - began)


def prose(text: object) -> Markup:
    """A sentence of a report, with the commands that it has between backticks as code."""
    # Escaped first: backticks need no escaping.
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape("" if text is None else text))))


def share(part: float | None, whole: float | None) -> float:
    """`part` of `whole` between 0 and 1; 0 where one is not known."""
    return 0.0 if not part or not whole else max(0.0, min(1.0, part / whole))


FILTERS = {
    "state": state, "age": age, "clock": clock, "mib": mib, "size": size, "fixed": fixed, "span": span, "took": took,
    "share": share, "unix": unix, "prose": prose,
}  # fmt: skip
