"""Shared disk space: how much may still be reserved, which attempt to stop, when to delete the ballast file. Pure.

All sizes are MiB (2**20 bytes).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

Key = TypeVar("Key", bound=Hashable)

# Stop reasons of attempts that were stopped to free disk space. Neither is a failure.
QUOTA, LOW = "scratch_quota", "scratch_low"
REASONS = {
    QUOTA: "it used more scratch than was reserved for it, and no more was free",
    LOW: "the scratch volume was nearly full and it used most",
}
_SOFT_SHARE, _SOFT_MOST_MIB = 20, 2048
_SHM_SOFT_MOST_MIB = 64
# An attempt below this share of its reservation does not ask for more.
_GROW_ABOVE, _GROW_BY = 0.8, 1.5


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Free space now, less the floor below which no step starts. None: unknown, no limit.

    `blocked` is the reason why no step may start at all, whatever its demand.
    """

    scratch_mib: int | None = None
    shm_mib: int | None = None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """One live attempt on a volume: its reservation, and its usage when it was last sampled."""

    reserved_mib: int
    used_mib: float = 0.0

    @property
    def unused_mib(self) -> float:
        return max(0.0, self.reserved_mib - self.used_mib)


def left_mib(total_mib: int | None, uses: Iterable[Use], really_free_mib: int | None) -> int | None:
    """What may still be reserved, limited by the total and by the free space (other programs use the volume, too).

    Space that live attempts have reserved and not yet used stays reserved for them.
    """
    known = list(uses)
    bounds = []
    if total_mib is not None:
        bounds.append(total_mib - sum(use.reserved_mib for use in known))
    if really_free_mib is not None:
        bounds.append(int(really_free_mib - sum(use.unused_mib for use in known)))
    return min(bounds, default=None)


def soft_mark_mib(total_mib: int, setting: int | None = None) -> int:
    """Free space of a scratch volume below which nothing new starts: a twentieth, 2 GiB at most."""
    return min(total_mib // _SOFT_SHARE, _SOFT_MOST_MIB) if setting is None else setting


def hard_mark_mib(total_mib: int, setting: int | None = None, soft_setting: int | None = None) -> int:
    """Free space below which one attempt (see `greediest`) is stopped: a quarter of the soft mark."""
    return max(1, soft_mark_mib(total_mib, soft_setting) // 4) if setting is None else setting


def shm_mark_mib(total_mib: int) -> int:
    """Space in /dev/shm that is left to other programs: a twentieth, 64 MiB at most."""
    return min(total_mib // _SOFT_SHARE, _SHM_SOFT_MOST_MIB)


def greediest(uses: Iterable[tuple[Key, Use]]) -> Key | None:
    """The attempt to stop: the one furthest above its reservation, else the largest; None if no attempt uses space."""
    known = [(use.used_mib - use.reserved_mib, use.used_mib, number, key) for number, (key, use) in enumerate(uses)]
    over = [row for row in known if row[0] > 0]
    using = [row for row in known if row[1] > 0]
    if over:
        return max(over, key=lambda row: row[0])[3]
    return max(using, key=lambda row: row[1])[3] if using else None


def wanted_mib(use: Use) -> int | None:
    """The larger reservation to request for an attempt that has nearly used up its own, else None."""
    return int(use.used_mib * _GROW_BY) + 1 if use.used_mib > _GROW_ABOVE * use.reserved_mib else None


def after_stop_mib(reserved_mib: int, peak_mib: float) -> int:
    """The reservation for the next attempt after one was stopped at this peak: larger, so that stops do not repeat."""
    return max(reserved_mib, int(peak_mib * _GROW_BY) + 1) if peak_mib > _GROW_ABOVE * reserved_mib else reserved_mib


def ballast_move(free_mib: float, ballast_mib: int, exists: bool) -> Literal["release", "make"] | None:
    """What to do with the ballast: a file that is deleted to leave space for the store's own writes.

    It is deleted when the disk is nearly full, and made again when that leaves four times its size free.
    """
    if exists:
        return "release" if free_mib < max(1.0, ballast_mib / 4) or ballast_mib == 0 else None
    return "make" if ballast_mib and free_mib > 5 * ballast_mib else None
