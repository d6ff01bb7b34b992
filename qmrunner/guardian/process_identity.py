"""The identity of a process. A pid alone is not enough: pids are reused. Pure; `process_tree` reads `/proc`.

Named tuples, here and in the rest of this room: dataclasses import 1.2 MiB into every guardian.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Identity(NamedTuple):
    """(boot id, pid namespace, pid, start time in clock ticks since boot): unique on one machine for all time."""

    boot_id: str
    pid_ns: str
    pid: int
    start_ticks: int

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Identity:
        return cls(str(value["boot_id"]), str(value["pid_ns"]), int(value["pid"]), int(value["start_ticks"]))


class Stat(NamedTuple):
    """The fields that qmrunner reads from `/proc/PID/stat`. CPU times in clock ticks, `rss_pages` in pages."""

    pid: int
    comm: str
    state: str
    ppid: int
    utime: int
    stime: int
    cutime: int
    cstime: int
    start_ticks: int
    rss_pages: int


def parse_stat(text: str) -> Stat:
    """Read one line of `/proc/PID/stat`. The name may hold spaces and brackets: it ends at the *last* bracket.

    Raises ValueError for anything else. Source: proc(5), fields 1-24.
    """
    opened, closed = text.index("("), text.rindex(")")
    rest = text[closed + 2 :].split()
    if len(rest) < 22:
        raise ValueError(f"not a line of /proc/PID/stat: {text!r}")
    return Stat(
        pid=int(text[:opened]),
        comm=text[opened + 1 : closed],
        state=rest[0],
        ppid=int(rest[1]),
        utime=int(rest[11]),
        stime=int(rest[12]),
        cutime=int(rest[13]),
        cstime=int(rest[14]),
        start_ticks=int(rest[19]),
        rss_pages=int(rest[21]),
    )
