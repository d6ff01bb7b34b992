"""The quantities of a deck of several tasks: each is that of the last task that computes it, and those that belong
together are those of one task, of the structure computed last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.engines.nwchem.output.tasks import Record

_ORBITALS = ("homo_ev", "lumo_ev", "gap_ev", "spin_squared")
_POPULATIONS = ("charges_e", "spin_populations")
_VIBRATIONS = (
    "frequencies_cm1", "ir_intensities_km_mol", "imaginary_frequencies", "zero_point_energy_hartree", "thermochemistry",
    "temperature_k", "entropy_cal_mol_k", "enthalpy_hartree", "free_energy_hartree",
)  # fmt: skip
_POLARIZABILITIES = ("polarizabilities", "polarizability_au")
_G_SHIFTS = ("g_shift_ppm", "g_shift_principal_ppm")
_GROUPS = (_ORBITALS, _POPULATIONS, _VIBRATIONS, _POLARIZABILITIES, _G_SHIFTS)
# Derived from harmonic frequencies that a later task replaces.
_WITH_FREQUENCIES = ("anharmonic_frequencies_cm1", "anharmonic_intensities_km_mol", "raman", "raman_excitation_nm")


def of_tasks(records: Sequence[Record], by_task: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The quantities of the whole run; `by_task` are those of each record, in order."""
    known: dict[str, Any] = {}
    structure = None
    for record, found in zip(records, by_task, strict=True):
        if record.asked.structure != structure:
            known, structure = {}, record.asked.structure
        dropped = {name for group in _GROUPS if not found.keys().isdisjoint(group) for name in group}
        dropped |= set(_WITH_FREQUENCIES) if "frequencies_cm1" in found else set()
        known = {name: value for name, value in known.items() if name not in dropped} | dict(found)
    return known
