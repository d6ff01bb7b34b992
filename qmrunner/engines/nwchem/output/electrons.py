"""Dipole, charges, orbitals and fields in the output of one NWChem task. Checked against NWChem 7.0.2.

They belong to the density that NWChem analyses: that of HF or DFT, even if the task continues with a correlated method,
except for the dipoles that TCE and the gradient of MP2 print. The dipole of an ion depends on the origin, which NWChem
chooses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from qmrunner.engines.nwchem.output import elements
from qmrunner.engines.nwchem.output.numbers import DEBYE_PER_AU, EV_PER_HARTREE, Table, number, numbers

_ATOM = r"^\s+\d+\s+([A-Za-z]\S*)\s+"
_REAL = r"(-?\d+\.\d+)"
_POPULATION = rf"{_ATOM}(\d+\.\d)\s+{_REAL}\s*$"
_POINT = rf"{_ATOM}{_REAL}\s+{_REAL}\s+{_REAL}\s+"
_ESP_HEADING = r"^\s+ESP(?:\s+R?ESP\d?)*\s*$"
_VECTOR = re.compile(r"^ Vector\s+\d+\s+Occ=\s*(\S+)\s+E=\s*(\S+)")
# Of DFT and of HF.
_S2 = re.compile(r"<S2> =\s+(\S+) \(Exact|^\s+S\^2 =\s+(\S+)\s*$")
_COSMO = re.compile(r"(gas|sol) phase energy\s+=\s+(\S+)")


class Dipole:
    """The dipole moment: NWChem prints it in four ways."""

    def __init__(self) -> None:
        self._multipoles = Table("Multipole analysis of the density", r"^\s+1\s+[01] [01] [01]\s+(\S+)")
        self._property = Table("Dipole moment", r"^\s+DM[XYZ]\s+(\S+)", r"Dipole moment\s+\S+ Debye")
        self._mp2 = Table("Dipole Moments (a.u.)", r"^ [XYZ]\s+\S+\s+\S+\s+(\S+)\s*$")
        self._tce = Table(
            "dipole moments / hartree", r"^\s+(?:X|Y|Z|Total) +\S+ +(\S+)\s*$", r"^ (?!EOM|SCF)\S+ dipole"
        )

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        for table in (self._multipoles, self._property, self._mp2, self._tce):
            table.feed(line)

    def found(self) -> dict[str, Any]:
        """`dipole_debye` is the norm."""
        if (own := self._tce.column(0)) and len(own) == 4:
            # TCE's sign is that of the electrons: opposite to the analysis of the same SCF density.
            return _dipole([-value for value in own[:3]])
        if (relaxed := self._mp2.column(0)) and len(relaxed) == 3:
            return _dipole([value * DEBYE_PER_AU for value in relaxed])
        if (debye := self._property.column(0)) and len(debye) == 3:
            return _dipole(debye)
        if (atomic := self._multipoles.column(0)) and len(atomic) == 3:
            return _dipole([value * DEBYE_PER_AU for value in atomic])
        return {}


def _dipole(vector: Sequence[float]) -> dict[str, Any]:
    plain = [round(value, 6) + 0.0 for value in vector]  # no minus zero
    return {"dipole_debye": round(math.hypot(*plain), 6), "dipole_vector_debye": plain}


class Charges:
    """Charges (e), spin populations and fields at the nuclei, in the order of the atoms; ghosts are left out."""

    def __init__(self) -> None:
        row = rf"{_ATOM}(\d+)\s+{_REAL}\s+{_REAL}"
        self._shells = Table("Mulliken", row, r"Mulliken analysis of the total density|Total Density - Mulliken")
        self._shell_spins = Table("Mulliken", row, r"Spin Density - Mulliken|Mulliken analysis of the spin density")
        self._total = Table("Total      gross population on atoms", _POPULATION)
        self._spins = Table("Atomic spin population", _POPULATION)
        self._esp = Table("ESP", rf"{_POINT}({_REAL[1:-1]}(?:\s+{_REAL[1:-1]})*)\s*$", _ESP_HEADING)
        self._potentials = Table("Electrostatic potential/diamagnetic shielding", rf"{_POINT}{_REAL}\s+{_REAL}\s*$")
        self._density = Table("Total electron density", rf"{_POINT}{_REAL}\s*$")

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        for table in (
            self._shells, self._shell_spins, self._total, self._spins, self._esp, self._potentials, self._density,
        ):  # fmt: skip
            table.feed(line)

    def found(self) -> dict[str, Any]:
        """`charges_e` are Mulliken charges; those of the property module have five digits, those after an SCF two."""
        found = {
            "charges_e": self._mulliken(),
            "spin_populations": _of_atoms(self._spins, 2) or _of_atoms(self._shell_spins, 2),
            "esp_charges_e": self._fitted(),
            "electrostatic_potentials_au": _of_atoms(self._potentials, 4),
            "electron_densities_au": _of_atoms(self._density, 4),
        }
        return {name: values for name, values in found.items() if values}

    def _mulliken(self) -> list[float] | None:
        """With a core potential the property module prints the charge of the whole nucleus, but no electrons of
        the core; the analysis after an SCF prints the charge that the potential leaves."""
        nuclear, electrons = _of_atoms(self._total, 1), _of_atoms(self._total, 2)
        after_scf = _of_atoms(self._shells, 1)
        if nuclear is None or electrons is None:
            nuclear, electrons = after_scf, _of_atoms(self._shells, 2)
        elif after_scf is not None and len(after_scf) == len(electrons):
            nuclear = after_scf
        if nuclear is None or electrons is None:
            return None
        return [round(charge - count, 6) for charge, count in zip(nuclear, electrons, strict=True)]

    def _fitted(self) -> list[float] | None:
        """The last column: the fit with all requested restraints and constraints."""
        return numbers(row[4].split()[-1] for row in self._esp.rows) if self._esp.rows else None


def _of_atoms(table: Table, at: int) -> list[float] | None:
    """The numbers of a column, without those of ghosts; the first column has the tags."""
    return numbers(row[at] for row in table.rows if not elements.is_ghost(row[0])) or None


class Quadrupole:
    """The traceless quadrupole moment, in buckingham (debye · ångström)."""

    def __init__(self) -> None:
        self._table = Table("Quadrupole moments in buckingham", r"^\s+([XYZ]{2})\s+\S+\s+\S+\s+(\S+)\s*$")

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        self._table.feed(line)

    def found(self) -> dict[str, Any]:
        """Six components by name."""
        values = self._table.column(1)
        if not values or len(values) != 6:
            return {}
        names = (row[0].lower() for row in self._table.rows)
        return {"quadrupole_buckingham": dict(zip(names, values, strict=True))}


class Orbitals:
    """Frontier orbitals (eV) as NWChem lists them, both spins together; ⟨S²⟩ of an open shell."""

    def __init__(self) -> None:
        self._occupied: float | None = None
        self._empty: float | None = None
        self._s2: float | None = None
        self._natural = False  # orbitals that have no energies

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "Molecular Orbital Analysis" in line and "Beta" not in line:
            self._occupied = self._empty = None
        elif "NWChem Direct MCSCF Module" in line:
            self._natural = True
        elif line.startswith(" Vector") and (match := _VECTOR.match(line)):
            values = numbers(match.groups())
            if values is not None and values[0] > 0:
                self._occupied = values[1] if self._occupied is None else max(self._occupied, values[1])
            elif values is not None:
                self._empty = values[1] if self._empty is None else min(self._empty, values[1])
        elif ("<S2>" in line or "S^2" in line) and (match := _S2.search(line)):
            self._s2 = number(match[1] or match[2])

    def found(self) -> dict[str, Any]:
        """`homo_ev`, `lumo_ev`, their difference `gap_ev`, and `spin_squared`."""
        found: dict[str, Any] = {}
        if self._occupied is not None and not self._natural:
            found["homo_ev"] = round(self._occupied * EV_PER_HARTREE, 4)
            if self._empty is not None:
                found["lumo_ev"] = round(self._empty * EV_PER_HARTREE, 4)
                found["gap_ev"] = round((self._empty - self._occupied) * EV_PER_HARTREE, 4)
        return found if self._s2 is None else found | {"spin_squared": self._s2}


class Solvation:
    """The energies of COSMO (hartree)."""

    def __init__(self) -> None:
        self._phases: dict[str, float | None] = {}

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "phase energy" in line and (match := _COSMO.search(line)):
            self._phases[match[1]] = number(match[2])

    def found(self) -> dict[str, Any]:
        """Empty if NWChem skipped the gas phase: it then prints 0 for it, and the whole energy as solvation."""
        gas, solution = self._phases.get("gas"), self._phases.get("sol")
        if not gas or solution is None:
            return {}
        return {"gas_phase_energy_hartree": gas, "solvation_energy_hartree": solution - gas}
