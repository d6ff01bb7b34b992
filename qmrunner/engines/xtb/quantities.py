"""Quantities of an xTB run in addition to its energy: potentials, Fukui indices, charges, bond orders, frequencies. A
quantity that was not printed, or cannot be read, has no entry. Checked against xTB 6.5.1."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.model.units import HARTREE_PER_KCAL

# Lists of larger systems are only in the files of the run.
_MOST_ATOMS = 1000
_IONS = ("vertical delta SCC", "Fukui index Calculation")
_NUMBER = r"(-?\d+\.\d+(?:[Ee][-+]?\d+)?)"
_METHOD = re.compile(r": +Hamiltonian +(\S+) +:")
# The banner of the methods without such a line.
_BANNERS = {"G F N 0 - x T B": "GFN0-xTB", "G F N - F F": "GFN-FF"}
_SINGLE = {
    "vertical_ionization_potential_ev": re.compile(rf"delta SCC IP \(eV\): +{_NUMBER}"),
    "vertical_electron_affinity_ev": re.compile(rf"delta SCC EA \(eV\): +{_NUMBER}"),
    "electrophilicity_index_ev": re.compile(rf"Global electrophilicity index \(eV\): +{_NUMBER}"),
    "dipole_debye": re.compile(rf"^ +full: +{_NUMBER} +{_NUMBER} +{_NUMBER} +(?P<value>\d+\.\d+)\s*$"),
    "zero_point_energy_hartree": re.compile(rf":: zero point energy +{_NUMBER} Eh"),
    "fod_electrons": re.compile(rf"^ *NFOD +: +{_NUMBER}"),
    "enthalpy_hartree": re.compile(rf"\| TOTAL ENTHALPY +{_NUMBER} Eh"),
    "average_potential_energy_hartree": re.compile(rf"^ *Epot +: +{_NUMBER}\s*$"),
    "average_temperature_k": re.compile(rf"^ *T +: +{_NUMBER}\s*$"),
}
_GFN1_DIPOLE = re.compile(r"total \(Debye\): +(\d+\.\d+)")
# Of the neutral or as-given system, before the ions are computed.
_OWN = {
    "energy_hartree": re.compile(rf":: total energy +{_NUMBER} Eh"),
    "gradient_norm": re.compile(rf":: gradient norm +{_NUMBER} Eh"),
    "gap_ev": re.compile(rf":: HOMO-LUMO gap +{_NUMBER} eV"),
}
# xTB adds the energy of constraints and walls to the total energy.
_RESTRAINT = re.compile(rf":: add\. restraining +{_NUMBER} Eh")
_SMALLEST_RESTRAINT = 5e-7
_FRAME = re.compile(rf"^ *energy: +{_NUMBER}")
_MOST_FRAMES = 10_000
_FUKUI = re.compile(rf"^ +(\d+)([A-Z][a-z]?) +{_NUMBER} +{_NUMBER} +{_NUMBER}\s*$")
_TOTAL = re.compile(rf"^ +TOT +{_NUMBER} +{_NUMBER} +{_NUMBER} +{_NUMBER}")
_TEMPERATURE = re.compile(rf"^ *{_NUMBER} +VIB ")
# `298.15  0.389756E-02  0.549404E-01  0.263609E-01  0.285795E-01`: T/K, H(0)-H(T)+PV, H(T), T*S, G(T) in Eh.
_REAL = r"-?\d\.\d+E[-+]\d+"
_THERMAL = re.compile(rf"^ +(\d+\.\d+) +{_REAL} +({_REAL}) +{_REAL} +({_REAL})(?: +\(used\))?\s*$")
_ION_NOTE = (
    "energy, gradient and gap are those of the system as given; charges, wbo and the other files that xTB leaves, and "
    "the last summary of its log, are those of the ion it computed last"
)


def read(log: Path, directory: Path, prefix: str) -> dict[str, Any]:
    """The quantities of a run in `directory`, by names that contain the unit; with `notes` if they need one.

    A run that also computes ions (`--vip`, `--vea`, `--vipea`, `--vomega`, `--vfukui`) has entries `energy_hartree`,
    `gradient_norm` and `gap_ev` of the system as given, for xTB's last summary is an ion's.
    """
    found: dict[str, Any] = {}
    own: dict[str, float] = {}
    fukui: list[dict[str, Any]] = []
    ions = False
    restraint = 0.0
    thermal: list[dict[str, float]] = []
    for line in _lines(log):
        ions = ions or any(word in line for word in _IONS)
        if hit := _METHOD.search(line):
            found.setdefault("energy_of", hit[1])
        elif name := _BANNERS.get(line.strip(" |\r\n")):
            found.setdefault("energy_of", name)
        if not ions:
            own |= {name: float(hit[1]) for name, rule in _OWN.items() if (hit := rule.search(line))}
        if not ions and (hit := _RESTRAINT.search(line)):
            restraint = float(hit[1])
        _take(found, line, ions)
        if not ions and (hit := _THERMAL.match(line)) and len(thermal) < _MOST_FRAMES:
            names = ("temperature_k", "enthalpy_correction_hartree", "free_energy_correction_hartree")
            thermal.append(dict(zip(names, map(float, hit.groups()), strict=True)))
        if ions and (hit := _FUKUI.match(line)):
            plus, minus, zero = (float(hit[n]) for n in (3, 4, 5))
            row = {"atom": int(hit[1]), "element": hit[2]}
            fukui.append(row | {"f_plus": plus, "f_minus": minus, "f_zero": zero})
    if ions:
        if any(name in found for name in ("vertical_ionization_potential_ev", "vertical_electron_affinity_ev")):
            found["energy_of"] = "IPEA-xTB"
        found |= own | {"notes": [_ION_NOTE]} | ({"fukui": fukui} if fukui else {})
    else:
        found |= _electrons(directory, prefix)
    several = _temperatures(thermal)
    notes = [*found.get("notes", ()), *several.pop("notes", ())]
    found |= several
    if abs(restraint) > _SMALLEST_RESTRAINT:
        found["restraint_energy_hartree"] = restraint
        notes.append(
            f"energy_hartree contains {restraint:.9f} hartree of the constraints or walls of the input, as xtb's total"
            " energy does"
        )
    if scan := _frames(directory / f"{prefix}xtbscan.log"):
        found["path_energies_hartree"] = scan
        notes.append(
            "path_energies_hartree are those of the points of the scan (xtbscan.log); all other values belong to the"
            " structure before the scan"
        )
    # xTB writes them in kcal/mol, from the first point on.
    if (path := _frames(directory / f"{prefix}xtbpath.xyz")) and "energy_hartree" in own:
        found["path_energies_hartree"] = [
            round(own["energy_hartree"] + HARTREE_PER_KCAL * (energy - path[0]), 9) for energy in path
        ]
        notes.append(
            "path_energies_hartree are those of the points of the path (xtbpath.xyz, there in kcal/mol); all other"
            " values belong to the structure at its start"
        )
    return found | ({"notes": notes} if notes else {}) | _vibrations(directory / f"{prefix}vibspectrum")


def _temperatures(rows: list[dict[str, float]]) -> dict[str, Any]:
    """The table of a run at several temperatures; the other thermal quantities are those of the last one."""
    if len(rows) < 2:
        return {}
    return {
        "thermochemistry": rows,
        "notes": ["enthalpy, free energy, entropy and heat capacity are those of the last temperature asked for"],
    }


def _frames(path: Path) -> list[float]:
    """The energies (hartree) in the comments of a file of several structures."""
    hits = (hit for line in _lines(path) if (hit := _FRAME.match(line)))
    return [float(hit[1]) for hit, _ in zip(hits, range(_MOST_FRAMES), strict=False)]


def _take(found: dict[str, Any], line: str, ions: bool) -> None:
    for name, rule in _SINGLE.items():
        if (hit := rule.search(line)) and not (ions and name == "dipole_debye"):
            found[name] = float(hit["value"] if "value" in rule.groupindex else hit[1])
    if not ions and (hit := _GFN1_DIPOLE.search(line)):
        found["dipole_debye"] = float(hit[1])
    if hit := _TEMPERATURE.match(line):
        found["temperature_k"] = float(hit[1])
    if hit := _TOTAL.match(line):
        found["heat_capacity_cal_mol_k"], found["entropy_cal_mol_k"] = float(hit[2]), float(hit[3])


def _electrons(directory: Path, prefix: str) -> dict[str, Any]:
    """Atomic charges in elementary charges, in the order of the atoms, and Wiberg bond orders."""
    charges = _table(directory / f"{prefix}charges", 1)
    orders = _table(directory / f"{prefix}wbo", 3)
    found: dict[str, Any] = {}
    if charges and len(charges) <= _MOST_ATOMS:
        found["charges_e"] = [row[0] for row in charges]
        if orders:
            found["wiberg_bond_orders"] = [
                {"atoms": [int(first), int(second)], "order": round(order, 6)} for first, second, order in orders
            ]
    return found


def _vibrations(path: Path) -> dict[str, Any]:
    """Wavenumbers (negative for imaginary ones) and infrared intensities of a `vibspectrum` file."""
    rows, modes = [], 0
    for line in _lines(path):
        words = line.split()
        modes += bool(words) and words[0].isdigit()
        # Translations and rotations have no symmetry label, and are no vibrations.
        if len(words) > 3 and words[0].isdigit() and words[1].isalpha():
            rows.append(_numbers(words[2:4]))
    known = [row for row in rows if row is not None]
    if modes == 3:
        return {}  # an atom: xTB lists three vibrations of 0.5 cm⁻¹
    if not known or len(known) < len(rows) or len(known) > 3 * _MOST_ATOMS:
        return {}
    return {
        "frequencies_cm1": [row[0] for row in known],
        "ir_intensities_km_mol": [row[1] for row in known],
        "imaginary_frequencies": sum(row[0] < 0 for row in known),
    }


def _table(path: Path, width: int) -> list[list[float]]:
    rows = [_numbers(line.split()) for line in _lines(path) if line.strip()]
    known = [row for row in rows if row is not None and len(row) == width]
    return known if len(known) == len(rows) else []


def _numbers(words: Sequence[str]) -> list[float] | None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from untrusted.lines(path)
    except OSError:
        return
