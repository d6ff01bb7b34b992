"""Vibrations, Raman scattering and thermochemistry in the output of one NWChem task. Checked against NWChem 7.0.2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from qmrunner import untrusted
from qmrunner.engines.nwchem.output.numbers import MOST_MODES, Table, number, numbers

_THERMAL = {
    "frequency scaling parameter": ("frequency_scaling", re.compile(r"=\s+(\S+)")),
    "Thermal correction to Energy": ("thermal_correction_hartree", re.compile(r"\(\s*+([^\s(]++) au\)")),
    "Thermal correction to Enthalpy": ("enthalpy_correction_hartree", re.compile(r"\(\s*+([^\s(]++) au\)")),
    "Total Entropy": ("entropy_cal_mol_k", re.compile(r"=\s+(\S+) cal/mol-K")),
    "Cv (constant volume heat capacity)": ("heat_capacity_cv_cal_mol_k", re.compile(r"=\s+(\S+) cal/mol-K")),
}
_ZERO_POINT = re.compile(r"Zero-Point correction to Energy\s+=[^(]*\(\s*+([^\s(]++) au\)")
_TEMPERATURE = re.compile(r"^ Temperature\s+=\s+([\d.]+)K")
_WRITTEN = re.compile(r"scattering data written to (\S+)")
_WAVELENGTH = re.compile(r"Excitation wavelength\s+(\S+) nm")
_ACTIVITY = re.compile(r"^\s+\d+\s+(-?\d+\.\d+)\s+(\S+)\s*$")
_MOST_TEMPERATURES = 100
_CAL_PER_HARTREE = 627509.4740631


class Vibrations:
    """Wavenumbers (cm⁻¹, imaginary ones negative) and infrared intensities (km/mol) of the projected modes, and derived
    quantities. Translations and rotations, which NWChem lists among the modes, are left out."""

    def __init__(self) -> None:
        row = r"^\s+\d+\s+(\S+)\s+\|\|\s+\S+\s+\S+\s+(\S+)\s+\S+\s*$"
        self._infrared = Table("Projected Infra Red Intensities", row, most=MOST_MODES)
        self._coarse: list[float | None] = []
        self._linear = False
        self._zero_point: float | None = None
        self._thermal: list[dict[str, float]] = []

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        self._infrared.feed(line)
        if "(Projected Frequencies" in line:
            self._coarse = []
        elif line.startswith(" P.Frequency"):
            self._coarse = [*self._coarse, *map(number, line.split()[1:])][: MOST_MODES + 1]
        elif "Rotational Constants" in line:
            self._thermal, self._linear = [], False
        elif "=" in line or "Linear" in line:
            self._thermochemistry(line)

    def _thermochemistry(self, line: str) -> None:
        if match := _TEMPERATURE.match(line):
            value = number(match[1])
            if value is not None and len(self._thermal) < _MOST_TEMPERATURES:
                self._thermal.append({"temperature_k": value})
        elif line.startswith(" Linear Molecule"):
            self._linear = True
        elif match := _ZERO_POINT.search(line):
            self._zero_point = number(match[1])
        elif self._thermal and (known := _THERMAL.get(line.partition("=")[0].strip())):
            match = known[1].search(line)
            value = number(match[1]) if match else None
            if value is not None:
                self._thermal[-1].setdefault(known[0], value)

    def found(self) -> dict[str, Any]:
        """See the class; no frequencies if one of them is not a number."""
        found: dict[str, Any] = {}
        wavenumbers, intensities = self._modes()
        if wavenumbers:
            kept = _vibrations(wavenumbers, self._linear)
            found["frequencies_cm1"] = [wavenumbers[at] for at in kept]
            if intensities:
                found["ir_intensities_km_mol"] = [intensities[at] for at in kept]
            found["imaginary_frequencies"] = sum(wavenumbers[at] < 0 for at in kept)
        if self._zero_point is not None:
            found["zero_point_energy_hartree"] = self._zero_point
        if self._thermal:
            found["thermochemistry"] = [dict(row) for row in self._thermal]
        return found

    def _modes(self) -> tuple[list[float], list[float] | None]:
        """All 3 N modes; with only two digits and without intensities if NWChem has no dipole derivatives."""
        if wavenumbers := self._infrared.column(0):
            return wavenumbers, self._infrared.column(1)
        known = [value for value in self._coarse if value is not None]
        whole = len(known) == len(self._coarse) <= MOST_MODES and len(known) % 3 == 0
        return (known, None) if whole else ([], None)


class AnharmonicModes:
    """Wavenumbers of the vibrational SCF (`vscf`, cm⁻¹) and infrared intensities (km/mol), in its order of the modes.

    They are those of the last column of its table: with couplings of pairs where these were asked for.
    """

    def __init__(self) -> None:
        self._table = Table("RESULTS OF VIBRATIONAL SCF CALCULATION", r"^\s+\d+\s+-?\d+\.\d+.*\s(-?\d+\.\d+)\s*$")
        self._infrared = Table("mode   frequency, cm-1  intensity", r"^\s+\d+\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s*$")

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        self._table.feed(line)
        self._infrared.feed(line)

    def found(self) -> dict[str, Any]:
        """See the class; the harmonic ones stay `frequencies_cm1`."""
        wavenumbers = self._table.column(0)
        if not wavenumbers:
            return {}
        found: dict[str, Any] = {"anharmonic_frequencies_cm1": wavenumbers}
        intensities = self._infrared.column(1)
        if intensities and len(intensities) == len(wavenumbers):
            found["anharmonic_intensities_km_mol"] = intensities
        return found


class Raman:
    """The file with the result of `task … raman`: the output only names it."""

    def __init__(self) -> None:
        self._file: str | None = None

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "scattering data written to" in line and (match := _WRITTEN.search(line)):
            self._file = PurePath(match[1]).name  # only the file name, never a path from the output

    def found(self) -> dict[str, Any]:
        """`raman_file`, which `raman_activities` reads."""
        return {"raman_file": self._file} if self._file else {}


def raman_activities(file: Path) -> dict[str, Any]:
    """`raman`: wavenumber (cm⁻¹) and activity (Å⁴/amu) of each mode, and the wavelength that excites it (nm).

    Raises OSError.
    """
    found: dict[str, Any] = {}
    rows: list[dict[str, float]] = []
    with_heading = False
    for line in untrusted.lines(file):
        if match := _WAVELENGTH.search(line):
            value = number(match[1])
            found |= {} if value is None else {"raman_excitation_nm": value}
        elif line.startswith(" #  freq") or line.startswith(" # freq"):
            with_heading = True
        elif with_heading and (match := _ACTIVITY.match(line)) and len(rows) < MOST_MODES:
            values = numbers(match.groups())
            rows += [{"frequency_cm1": values[0], "activity_a4_amu": values[1]}] if values else []
        elif rows:
            break  # the spectrum follows, point by point
    return {"raman": rows, **found} if rows else {}


def _vibrations(wavenumbers: Sequence[float], linear: bool) -> list[int]:
    """The positions of the vibrations among the 3 N projected modes: all except the projected-out modes, which are the
    nearest to zero."""
    outside = 3 if len(wavenumbers) == 3 else 5 if linear or len(wavenumbers) == 6 else 6
    nearest = sorted(range(len(wavenumbers)), key=lambda at: abs(wavenumbers[at]))
    return sorted(nearest[outside:])


def at_one_temperature(found: Mapping[str, Any], energy_hartree: float | None) -> dict[str, float]:
    """Enthalpy and free energy (hartree) with the energy of the same task, under the same names as for xTB; empty if
    the task had several temperatures."""
    if len(found.get("thermochemistry") or ()) != 1:
        return {}
    thermal: Mapping[str, float] = found["thermochemistry"][0]
    quantities = {name: thermal[name] for name in ("temperature_k", "entropy_cal_mol_k") if name in thermal}
    if energy_hartree is not None and "enthalpy_correction_hartree" in thermal:
        quantities["enthalpy_hartree"] = energy_hartree + thermal["enthalpy_correction_hartree"]
        if "entropy_cal_mol_k" in thermal:
            cost = thermal["temperature_k"] * thermal["entropy_cal_mol_k"] / _CAL_PER_HARTREE
            quantities["free_energy_hartree"] = quantities["enthalpy_hartree"] - cost
    return quantities
