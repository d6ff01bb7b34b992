"""Space that is shared: what of a filesystem may still be handed out, whom to stop, when the ballast goes. Pure.

All sizes are MiB (2**20 bytes).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

Key = TypeVar("Key", bound=Hashable)

# Stop reasons of attempts that had to make room. None of them is a failure.
QUOTA, LOW = "scratch_quota", "scratch_low"
REASONS = {
    QUOTA: "it used more scratch than was reserved for it, and no more was free",
    LOW: "the scratch volume was nearly full and it used most",
}
_SOFT_SHARE, _SOFT_MOST_MIB = 20, 2048
_SHM_SOFT_MOST_MIB = 64
# Below this share of its reservation nobody needs to ask for more.
_GROW_ABOVE, _GROW_BY = 0.8, 1.5


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """What is really free now, less the floor below which nothing new starts. None: could not be told, no limit.

    `blocked` says why nothing may start at all, whatever it needs.
    """

    scratch_mib: int | None = None
    shm_mib: int | None = None
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """One live attempt on a volume: what it reserved, and what it was last seen to use."""

    reserved_mib: int
    used_mib: float = 0.0

    @property
    def unused_mib(self) -> float:
        return max(0.0, self.reserved_mib - self.used_mib)


def left_mib(total_mib: int | None, uses: Iterable[Use], really_free_mib: int | None) -> int | None:
    """What may still be reserved: of the total, and of what is really free, which others' files lessen, too.

    What live attempts have reserved and not yet used is theirs.
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
    """Free space below which the greediest attempt is stopped: a quarter of the soft mark."""
    return max(1, soft_mark_mib(total_mib, soft_setting) // 4) if setting is None else setting


def shm_mark_mib(total_mib: int) -> int:
    """What is kept free of /dev/shm for others: a twentieth, 64 MiB at most."""
    return min(total_mib // _SOFT_SHARE, _SHM_SOFT_MOST_MIB)


def greediest(uses: Iterable[tuple[Key, Use]]) -> Key | None:
    """Whom to stop: who is furthest over its reservation, else who uses most; None where nobody uses anything."""
    known = [(use.used_mib - use.reserved_mib, use.used_mib, number, key) for number, (key, use) in enumerate(uses)]
    over = [one for one in known if one[0] > 0]
    using = [one for one in known if one[1] > 0]
    if over:
        return max(over, key=lambda one: one[0])[3]
    return max(using, key=lambda one: one[1])[3] if using else None


def wanted_mib(use: Use) -> int | None:
    """The reservation to ask for when an attempt comes near the end of its own, or None while it is well within."""
    return int(use.used_mib * _GROW_BY) + 1 if use.used_mib > _GROW_ABOVE * use.reserved_mib else None


def after_stop_mib(reserved_mib: int, peak_mib: float) -> int:
    """What the next attempt asks for when one had to be stopped at this peak: more, so that this has an end."""
    return max(reserved_mib, int(peak_mib * _GROW_BY) + 1) if peak_mib > _GROW_ABOVE * reserved_mib else reserved_mib


def ballast_move(free_mib: float, ballast_mib: int, there: bool) -> Literal["release", "make"] | None:
    """What to do with the file that keeps room for the store's own writes.

    It goes when the disk is as good as full, and comes back when it would leave four times its size free.
    """
    if there:
        return "release" if free_mib < max(1.0, ballast_mib / 4) or ballast_mib == 0 else None
    return "make" if ballast_mib and free_mib > 5 * ballast_mib else None
