"""Estimates of memory and disk: the engine's rule, corrected by measured peaks of earlier attempts. Pure.

Only the ratio of a measured peak to the rule's figure is kept, because molecules of one size class differ in size. For
memory it is the ratio of the use beyond the rule's base (arrays, kept integrals) to the rule's figure for the cores:
the base is well known, while the figure for each rank is generous.

The usage of one job must not prevent later jobs from starting. A peak is cut to what its worker can give with the
margin; the part above the rule is halved for every `_HALVED_AFTER` newer attempts; and if no worker has as much as the
estimate, a step takes what a worker has (`within`). So only a demand by rule can be too large for all workers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity, Free

# Part of every kind. Raise it when an engine's rule or the meaning of a ratio changes: older ratios are then ignored.
RULES = 4
ENOUGH = 5  # attempts before an estimate may fall below the rule
KEPT = 50  # newest attempts of a kind that count
_QUANTILE, _MARGIN = 0.95, 1.25
_HALVED_AFTER = 10
# Memory is sampled after 0, 0.25, 0.6, 1.2, 2 s and so on: the peak of a shorter run is unknown.
_SAMPLED_S = 0.5
_METHOD = ("functional", "basis", "level", "quick")
_LEAST_SCRATCH_MIB, _LEAST_SCRATCH_RATIO = 16, 0.05


@dataclass(frozen=True, slots=True)
class Ratios:
    """Measured peak over the rule's figure; None if it was not measured or the rule's figure is zero. `memory` is
    without the rule's base in both.
    """

    memory: float | None = None
    scratch: float | None = None
    shm: float | None = None


def kind_of(engine: str, task: str, params: Mapping[str, Any]) -> str | None:
    """Engine, task, method, size class and a user's own arguments; None where the size is not known (users' decks).

    A size class spans a factor of the square root of two in atoms.
    """
    atoms = params.get("atoms")
    if not atoms or isinstance(atoms, str | int):
        return None
    method = "/".join(str(params[name]).lower() for name in _METHOD if params.get(name))
    solvent = "solvent" if params.get("cosmo") or params.get("alpb") else "gas"
    size_class = round(2 * math.log2(len(atoms)))
    kind = f"r{RULES} {engine} {task} {method or '-'} {solvent} {size_class}"
    if args := params.get("args"):
        kind += f" {hashlib.sha256(repr(list(args)).encode(errors='replace')).hexdigest()[:12]}"
    return kind[:200]


def ratios_of(rule: Demand, cores: int, usage: Mapping[str, Any], offered: Capacity | None = None) -> Ratios | None:
    """From the usage record of an attempt that had `cores`; None when it measured nothing.

    `offered` is what its worker could have given at most: what is learned of this attempt is not more.
    """
    sampled = (usage.get("wall_s") or 0.0) >= _SAMPLED_S
    memory = usage.get("peak_memory_mib") if sampled else None
    beyond = None if memory is None else memory - rule.memory_mib_base  # negative if the base is generous
    memory_mib, scratch_mib, shm_mib = None, None, None
    if offered is not None:
        memory_mib = (offered.memory_mib - rule.memory_mib_base) // cores * cores
        scratch_mib, shm_mib = offered.scratch_mib, offered.shm_mib
    ratios = Ratios(
        memory=_ratio(beyond, rule.memory_mib_per_core * cores, memory_mib),
        scratch=_ratio(usage.get("peak_scratch_mib"), rule.scratch_mib, scratch_mib),
        shm=_ratio(usage.get("peak_shm_mib") if sampled else None, rule.shm_mib, shm_mib),
    )
    return None if ratios == Ratios() else ratios


def _ratio(peak: float | None, rule: int, offered: int | None) -> float | None:
    if peak is None or rule <= 0:
        return None
    # Slightly less, so that rounding up with the margin does not exceed the offer.
    return peak / rule if offered is None else min(peak / rule, offered / rule / _MARGIN * (1 - 1e-9))


def expected(rule: Demand, cores: int, seen: Sequence[Ratios]) -> dict[str, int]:
    """Expected peaks in MiB, without margin: the high quantile of the measured ones, else the rule's figures."""
    figures = {"memory": rule.memory_mib_per_core * cores, "scratch": rule.scratch_mib, "shm": rule.shm_mib}
    base = {"memory": rule.memory_mib_base}
    return {
        f"{name}_mib": base.get(name, 0)
        + math.ceil(figure * (quantile(values) if (values := _column(seen, name)) else 1.0))
        for name, figure in figures.items()
    }


def measured(seen: Sequence[Ratios]) -> frozenset[str]:
    """Which of memory, scratch and shm were measured; for the others `expected` returns the rule's figure."""
    return frozenset(name for name in ("memory", "scratch", "shm") if _column(seen, name))


def learned(rule: Demand, seen: Sequence[Ratios]) -> Demand:
    """What to reserve: the high quantile of the measured peaks plus a quarter, with the rule as prior.

    A single attempt may raise an estimate, `ENOUGH` of them may lower scratch. Memory and shared memory never fall
    below the rule: the input promises the reserved memory to the ranks, and sampling misses short peaks.
    """
    if not seen and rule.scratch_least_mib <= rule.scratch_mib:
        return rule
    memory = _factor(_column(seen, "memory"), 1.0)
    return replace(
        rule,
        memory_mib_per_core=math.ceil(rule.memory_mib_per_core * memory),
        scratch_mib=max(rule.scratch_least_mib, _scratch_mib(rule.scratch_mib, _column(seen, "scratch"))),
        shm_mib=math.ceil(rule.shm_mib * _factor(_column(seen, "shm"), 1.0)),
    )


def within(wanted: Demand, rule: Demand, offered: Capacity | Free) -> Demand:
    """`wanted` (see `learned`) cut to what is `offered`, but not below the rule. Cores are the rule's in both."""
    per_core = (offered.memory_mib - rule.memory_mib_base) // max(1, rule.cores_min)
    return replace(
        wanted,
        memory_mib_per_core=_cut(wanted.memory_mib_per_core, rule.memory_mib_per_core, per_core),
        scratch_mib=_cut(wanted.scratch_mib, rule.scratch_mib, offered.scratch_mib),
        shm_mib=_cut(wanted.shm_mib, rule.shm_mib, offered.shm_mib),
    )


def _cut(wanted: int, least: int, has: int | None) -> int:
    return wanted if has is None else max(min(wanted, has), min(wanted, least))


def _scratch_mib(rule: int, ratios: Sequence[float]) -> int:
    wanted = math.ceil(rule * _factor(ratios, _LEAST_SCRATCH_RATIO))
    return wanted if wanted >= rule else max(min(rule, _LEAST_SCRATCH_MIB), wanted)


def _factor(ratios: Sequence[float], least: float) -> float:
    if not ratios:
        return 1.0
    high = quantile(ratios) * _MARGIN
    return max(high, 1.0 if len(ratios) < ENOUGH else least)


def _column(seen: Sequence[Ratios], name: str) -> list[float]:
    """One column, newest first. The part above the rule is weighted less the older it is."""
    values = [value for ratios in seen if (value := getattr(ratios, name)) is not None]
    return [
        value if value <= 1.0 else 1.0 + (value - 1.0) * 0.5 ** (newer / _HALVED_AFTER)
        for newer, value in enumerate(values)
    ]


def quantile(values: Sequence[float], share: float = _QUANTILE) -> float:
    """The smallest value with at least `share` of all at or below it: the greatest of up to 19, an outlier of 20 is
    left out.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
