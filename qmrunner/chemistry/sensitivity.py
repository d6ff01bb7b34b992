"""How far the shifts depend on the temperature and on the errors of the conformers' energies.

Pure Python over the content of `ensemble.json` (`report.write_ensemble`). The result page computes the same in the
browser (`static/ensemble.js`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.model.units import BOLTZMANN_HARTREE_PER_K, KCAL_PER_HARTREE

COLDEST_K, HOTTEST_K = 200.0, 400.0
MOST_ERROR_KCAL = 2.0
# A smaller change of a shift is none, ppm.
_NOTHING_PPM = 1e-4


def weights(ensemble: Mapping[str, Any], temperature_k: float) -> list[float]:
    """Boltzmann weights of the conformers at this temperature."""
    rows = ensemble["conformers"]
    lowest = min(row["energy_hartree"] for row in rows)
    factors = [
        row["degeneracy"] * math.exp(-(row["energy_hartree"] - lowest) / (BOLTZMANN_HARTREE_PER_K * temperature_k))
        for row in rows
    ]
    total = math.fsum(factors)
    return [factor / total for factor in factors]


def evaluate(ensemble: Mapping[str, Any], temperature_k: float, error_kcal: float) -> list[dict[str, Any]]:
    """For each atom its shift in ppm at this temperature, the range when the energy of any one conformer is wrong by up
    to `error_kcal` kcal/mol, and the conformer that moves it most (None if none does).

    The temperature changes the weights only, not the structures or shieldings. A mean is monotonic in the energy of one
    conformer, so the ends of its error give the ends of the range.
    """
    share = weights(ensemble, temperature_k)
    lean = error_kcal / (BOLTZMANN_HARTREE_PER_K * KCAL_PER_HARTREE * temperature_k)
    return [
        _atom(ensemble, place, share, (math.expm1(lean), math.expm1(-lean))) for place in range(len(ensemble["atoms"]))
    ]


def _atom(ensemble: Mapping[str, Any], place: int, share: Sequence[float], gains: Sequence[float]) -> dict[str, Any]:
    line = ensemble["lines"][ensemble["nuclei"][place]]
    values = [row[place] for row in ensemble["shieldings_ppm"]]
    mean = math.fsum(part * value for part, value in zip(share, values, strict=True))
    low = high = most = 0.0
    by: str | None = None
    for index, (part, value) in enumerate(zip(share, values, strict=True)):
        for gain in gains:  # the weight of this conformer times 1 + gain, and all weights divided by their new sum
            change = line["slope"] * (value - mean) * gain * part / (1 + gain * part)
            low, high = min(low, change), max(high, change)
            if abs(change) > most + 1e-12:
                most, by = abs(change), str(ensemble["conformers"][index]["id"])
    shift = line["intercept_ppm"] + line["slope"] * mean
    return {
        "atom": ensemble["atoms"][place],
        "shift_ppm": round(shift, 4),
        "low_ppm": round(shift + low, 4),
        "high_ppm": round(shift + high, 4),
        "most_ppm": round(most, 4),
        "most_by": by if most >= _NOTHING_PPM else None,
    }
