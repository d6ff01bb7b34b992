"""Shifts at other temperatures and with other energies."""

from __future__ import annotations

from typing import Any

import pytest

from qmrunner.chemistry import average, sensitivity
from qmrunner.model.units import KCAL_PER_HARTREE

ENSEMBLE: dict[str, Any] = {
    "temperature_k": 298.15,
    "lines": {"1H": {"slope": -1.0, "intercept_ppm": 32.0}, "13C": {"slope": -1.05, "intercept_ppm": 200.0}},
    "conformers": [
        {"id": "c1", "energy_hartree": -154.9, "degeneracy": 1, "weight": 0.5},
        {"id": "c2", "energy_hartree": -154.8995, "degeneracy": 2, "weight": 0.4},
        {"id": "c3", "energy_hartree": -154.897, "degeneracy": 1, "weight": 0.1},
    ],
    "atoms": [1, 4],
    "nuclei": ["13C", "1H"],
    "shieldings_ppm": [[140.0, 30.0], [150.0, 30.0], [120.0, 30.0]],
}


def shifts(temperature_k: float, moved: dict[int, float] | None = None) -> list[float]:
    """The shifts by the program's own averages, with kcal/mol added to some energies."""
    energies = [
        row["energy_hartree"] + (moved or {}).get(index, 0.0) / KCAL_PER_HARTREE
        for index, row in enumerate(ENSEMBLE["conformers"])
    ]
    share = average.boltzmann_weights(energies, temperature_k, [row["degeneracy"] for row in ENSEMBLE["conformers"]])
    mean = average.over_conformers(ENSEMBLE["shieldings_ppm"], share)
    lines = [ENSEMBLE["lines"][nucleus] for nucleus in ENSEMBLE["nuclei"]]
    return [line["intercept_ppm"] + line["slope"] * float(value) for line, value in zip(lines, mean, strict=True)]


@pytest.mark.parametrize("temperature", [200.0, 298.15, 400.0])
def test_shifts_and_their_range_equal_those_of_new_averages(temperature: float) -> None:
    seen = sensitivity.evaluate(ENSEMBLE, temperature, 0.7)
    assert [row["shift_ppm"] for row in seen] == pytest.approx(shifts(temperature), abs=1e-4)
    ways = [shifts(temperature, {index: way})[0] for index in range(3) for way in (-0.7, 0.7)]
    assert (seen[0]["low_ppm"], seen[0]["high_ppm"]) == pytest.approx((min(ways), max(ways)), abs=1e-4)


def test_an_atom_that_is_alike_in_all_conformers_depends_on_none() -> None:
    first, second = sensitivity.evaluate(ENSEMBLE, 298.15, 1.0)
    assert first["most_by"] == "c2"
    assert second["most_by"] is None
    assert second["low_ppm"] == second["high_ppm"] == second["shift_ppm"]


def test_without_an_error_there_is_no_range() -> None:
    row = sensitivity.evaluate(ENSEMBLE, 298.15, 0.0)[0]
    assert row["low_ppm"] == row["high_ppm"] == row["shift_ppm"]
