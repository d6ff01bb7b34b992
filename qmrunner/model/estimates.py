"""What earlier attempts of the same kind say about the next one: the engine's rule, corrected by measured peaks. Pure.

What is learned is the ratio of a measured peak to what the rule had asked for, so that molecules of one size class may
differ in size. Of memory it is the ratio of what the cores used beyond the rule's base (arrays, integrals kept) to the
rule's figure for the cores: the base is known well, the room of each rank is generous.

What one job used must not lock out those that come after it. A peak counts for no more than what its worker can give
with the margin, what lies above the rule halves with every `_HALVED_AFTER` newer attempts, and where no worker has what
was learned, a step takes what is there (`within`): only a rule can be too much for all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity, Free

# Part of every kind: raise it when an engine's rule, or what a ratio relates to, changes: older ratios are forgotten.
RULES = 4
ENOUGH = 5  # attempts before an estimate may fall below the rule
KEPT = 50  # newest attempts of a kind that count
_QUANTILE, _MARGIN = 0.95, 1.25
_HALVED_AFTER = 10
# Memory is looked at after 0, 0.25, 0.6, 1.2, 2 s and so on: the peak of a shorter run is not known.
_SAMPLED_S = 0.5
_METHOD = ("functional", "basis", "level", "quick")
_LEAST_SCRATCH_MIB, _LEAST_SCRATCH_RATIO = 16, 0.05


@dataclass(frozen=True, slots=True)
class Ratios:
    """Measured peak over the rule's figure; None where it was not measured or the rule asked for nothing. `memory` is
    without the rule's base, in both.
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
    beyond = None if memory is None else memory - rule.memory_mib_base  # below nothing where the base is generous
    memory_mib, scratch_mib, shm_mib = None, None, None
    if offered is not None:
        memory_mib = (offered.memory_mib - rule.memory_mib_base) // cores * cores
        scratch_mib, shm_mib = offered.scratch_mib, offered.shm_mib
    found = Ratios(
        memory=_ratio(beyond, rule.memory_mib_per_core * cores, memory_mib),
        scratch=_ratio(usage.get("peak_scratch_mib"), rule.scratch_mib, scratch_mib),
        shm=_ratio(usage.get("peak_shm_mib") if sampled else None, rule.shm_mib, shm_mib),
    )
    return None if found == Ratios() else found


def _ratio(peak: float | None, rule: int, offered: int | None) -> float | None:
    if peak is None or rule <= 0:
        return None
    # A hair less, so that rounding up with the margin ends at what was offered and not above.
    return peak / rule if offered is None else min(peak / rule, offered / rule / _MARGIN * (1 - 1e-9))


def expected(rule: Demand, cores: int, seen: Sequence[Ratios]) -> dict[str, int]:
    """The peaks to expect, MiB, without any margin: the high quantile of what was seen, else the rule's figures."""
    figures = {"memory": rule.memory_mib_per_core * cores, "scratch": rule.scratch_mib, "shm": rule.shm_mib}
    base = {"memory": rule.memory_mib_base}
    return {
        f"{name}_mib": base.get(name, 0)
        + math.ceil(figure * (quantile(values) if (values := _column(seen, name)) else 1.0))
        for name, figure in figures.items()
    }


def measured(seen: Sequence[Ratios]) -> frozenset[str]:
    """Which of memory, scratch and shm any of these attempts measured; of the others `expected` only has the rule."""
    return frozenset(name for name in ("memory", "scratch", "shm") if _column(seen, name))


def learned(rule: Demand, seen: Sequence[Ratios]) -> Demand:
    """What to reserve: the high quantile of what was seen with a margin of a quarter, the rule as prior.

    A single attempt may raise an estimate, `ENOUGH` of them may lower scratch. Memory and shared memory never fall
    below the rule: the deck promises the ranks what is reserved, and a short peak escapes the samples.
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
    """Of the newest first; what lies above the rule counts for less the older it is."""
    values = [value for one in seen if (value := getattr(one, name)) is not None]
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
