"""The quantities of a run as tables of text: name, value, unit; then modes, states and atoms.

The command line and the page show these, so both have the same digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.model.units import KCAL_PER_HARTREE

# Name in `result` → printed name, digits, unit.
_VALUES: dict[str, tuple[str, int, str]] = {
    "energy_hartree": ("energy", 6, "Eh"),
    "gas_phase_energy_hartree": ("energy in the gas phase", 6, "Eh"),
    "solvation_energy_hartree": ("solvation energy", 6, "Eh"),
    "enthalpy_hartree": ("enthalpy", 6, "Eh"),
    "free_energy_hartree": ("free energy", 6, "Eh"),
    "zero_point_energy_hartree": ("zero-point energy", 6, "Eh"),
    "entropy_cal_mol_k": ("entropy", 2, "cal/mol/K"),
    "heat_capacity_cal_mol_k": ("heat capacity", 2, "cal/mol/K"),
    "temperature_k": ("temperature", 2, "K"),
    "vertical_ionization_potential_ev": ("vertical ionization potential", 3, "eV"),
    "vertical_electron_affinity_ev": ("vertical electron affinity", 3, "eV"),
    "electrophilicity_index_ev": ("electrophilicity index", 3, "eV"),
    "fod_electrons": ("electrons of fractional occupation (NFOD)", 4, ""),
    "homo_ev": ("HOMO", 3, "eV"),
    "lumo_ev": ("LUMO", 3, "eV"),
    "gap_ev": ("HOMO-LUMO gap", 3, "eV"),
    "dipole_debye": ("dipole moment", 3, "D"),
    "polarizability_au": ("mean polarizability", 3, "a.u."),
    "spin_squared": ("<S2>", 4, ""),
    "g_shift_ppm": ("g shift", 1, "ppm"),
    "raman_excitation_nm": ("Raman excitation", 1, "nm"),
    "imaginary_frequencies": ("imaginary frequencies", 0, ""),
}
# Components that are shown behind a value, by its name.
_COMPONENTS = {"dipole_debye": "dipole_vector_debye", "g_shift_ppm": "g_shift_principal_ppm"}
_SHOWN = frozenset({*_VALUES, "energy_of"})
_SINGLE = (str, int, float, bool)
# Name in `result` → title; then name in a row, heading, digits (None: as it is).
_LISTS: dict[str, tuple[str, tuple[tuple[str, str, int | None], ...]]] = {
    "tasks": ("tasks", (
        ("task", "task", None), ("state", "state", None), ("energy_hartree", "energy / Eh", 6),
        ("energy_of", "of", None),
    )),
    "excitations": ("vertical excitations", (
        ("root", "root", None), ("multiplicity", "multiplicity", None), ("symmetry", "symmetry", None),
        ("energy_ev", "energy / eV", 4), ("corrected_energy_ev", "corrected / eV", 4),
        ("oscillator_strength", "oscillator strength", 5),
    )),
    "raman": ("Raman scattering", (
        ("frequency_cm1", "wavenumber / cm-1", 2), ("activity_a4_amu", "activity / A4/amu", 3),
    )),
    "thermochemistry": ("thermochemistry", (
        ("temperature_k", "temperature / K", 2), ("thermal_correction_hartree", "energy correction / Eh", 6),
        ("enthalpy_correction_hartree", "enthalpy correction / Eh", 6),
        ("free_energy_correction_hartree", "free energy correction / Eh", 6),
        ("entropy_cal_mol_k", "entropy / cal/mol/K", 3), ("heat_capacity_cv_cal_mol_k", "Cv / cal/mol/K", 3),
    )),
    "polarizabilities": ("polarizability", (
        ("frequency_hartree", "frequency / Eh", 6), ("isotropic_au", "isotropic / a.u.", 4),
        ("anisotropic_au", "anisotropic / a.u.", 4),
    )),
    "shieldings": ("shieldings", (
        ("atom", "atom", None), ("element", "element", None), ("isotropic_ppm", "isotropic / ppm", 3),
        ("anisotropy_ppm", "anisotropy / ppm", 3),
    )),
    "hyperfine_couplings": ("hyperfine couplings", (
        ("atom", "atom", None), ("element", "element", None), ("isotropic_mhz", "isotropic / MHz", 3),
        ("spin_density_au", "spin density / a.u.", 6),
    )),
    "electric_field_gradients": ("electric field gradients", (
        ("atom", "atom", None), ("element", "element", None), ("principal_au", "principal / a.u.", 6),
        ("asymmetry", "asymmetry", 4),
    )),
    "spin_spin_couplings": ("spin-spin couplings", (("atoms", "atoms", None), ("coupling_hz", "J / Hz", 3))),
    "trajectory": ("trajectory", (
        ("time_fs", "time / fs", 2), ("potential_hartree", "potential / Eh", 6), ("total_hartree", "total / Eh", 6),
        ("temperature_k", "temperature / K", 1),
    )),
}  # fmt: skip
# Lists with one value for each atom: heading, digits.
_BY_ATOM = {
    "charges_e": ("charge / e", 4),
    "esp_charges_e": ("ESP charge / e", 4),
    "spin_populations": ("spin", 4),
    "electrostatic_potentials_au": ("potential / a.u.", 6),
    "electron_densities_au": ("density / a.u.", 6),
}
_FUKUI = {"f_plus": "f(+)", "f_minus": "f(-)", "f_zero": "f(0)"}
_MOST_ROWS = 100


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text. `title` and `headings` are empty for that of single values; `more`: rows that are left out."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0


def of_result(result: Mapping[str, Any]) -> tuple[list[Grid], list[tuple[str, str]]]:
    """The tables of the JSON of a result, and the single values that are in none of them, by name."""
    found = result.get("result") or {}
    symbols = found.get("atoms") or (result.get("provenance") or {}).get("input", {}).get("atoms") or ()
    others = [(key, str(value)) for key, value in found.items() if key not in _SHOWN and isinstance(value, _SINGLE)]
    return list(_grids(found, symbols)), others


def _grids(found: Mapping[str, Any], symbols: Sequence[str]) -> Iterator[Grid]:
    values = _values(found)
    if values.rows:
        yield values
    if energies := found.get("energies_hartree"):
        yield _named("by level", "energy / Eh", energies, 6)
    if energies := found.get("path_energies_hartree"):
        yield _path(energies)
    if found.get("frequencies_cm1"):
        yield _modes(found["frequencies_cm1"], found.get("ir_intensities_km_mol") or [])
    if found.get("anharmonic_frequencies_cm1"):
        intensities = found.get("anharmonic_intensities_km_mol") or []
        yield _modes(found["anharmonic_frequencies_cm1"], intensities, "anharmonic vibrations")
    for key, (title, columns) in _LISTS.items():
        rows = found.get(key) or ()
        # A single task or temperature is printed above.
        if rows and not (len(rows) == 1 and key in ("tasks", "thermochemistry")):
            yield _listed(title, rows, columns)
    if found.get("quadrupole_buckingham"):
        yield _named("quadrupole", "D A", found["quadrupole_buckingham"], 4)
    yield from _atoms(found, symbols)
    if found.get("wiberg_bond_orders"):
        yield _bonds(found["wiberg_bond_orders"], symbols)


def _grid(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> Grid:
    return Grid(title, tuple(headings), tuple(map(tuple, rows)), max(0, count - _MOST_ROWS))


def _listed(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str, int | None]]) -> Grid:
    shown = [column for column in columns if any(row.get(column[0]) is not None for row in rows)]
    cells = [[_cell(row.get(key), digits) for key, _, digits in shown] for row in rows[:_MOST_ROWS]]
    return _grid(title, [heading for _, heading, _ in shown], cells, len(rows))


def _cell(value: Any, digits: int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return "-".join(map(str, value)) if digits is None else ", ".join(f"{number:.{digits}f}" for number in value)
    return str(value) if digits is None else f"{value:.{digits}f}"


def _named(title: str, heading: str, values: Mapping[str, float], digits: int) -> Grid:
    return _grid(title, ("", heading), [(name, f"{value:.{digits}f}") for name, value in values.items()], 0)


def _path(energies: Sequence[float]) -> Grid:
    rows = [
        (str(number), f"{value:.6f}", f"{(value - energies[0]) * KCAL_PER_HARTREE:.2f}")
        for number, value in enumerate(energies[:_MOST_ROWS], start=1)
    ]
    return _grid("path", ("bead", "energy / Eh", "relative / kcal/mol"), rows, len(energies))


def _values(found: Mapping[str, Any]) -> Grid:
    rows = []
    for key, (name, digits, unit) in _VALUES.items():
        if isinstance(found.get(key), int | float):
            of = f" ({found['energy_of']})" if key == "energy_hartree" and found.get("energy_of") else ""
            vector = found.get(_COMPONENTS.get(key, ""))
            along = f"  ({', '.join(f'{value:.{digits}f}' for value in vector)})" if vector else ""
            rows.append((f"{name}{of}", f"{found[key]:.{digits}f}", f"{unit}{along}"))
    return _grid("", (), rows, 0)


def _modes(wavenumbers: Sequence[float], intensities: Sequence[float], title: str = "vibrations") -> Grid:
    with_intensity = len(intensities) == len(wavenumbers)
    headings = ("mode", "wavenumber / cm-1", *(["IR intensity / km/mol"] if with_intensity else []))
    rows = [
        (str(at + 1), f"{value:.2f}", *([f"{intensities[at]:.2f}"] if with_intensity else []))
        for at, value in enumerate(wavenumbers[:_MOST_ROWS])
    ]
    return _grid(title, headings, rows, len(wavenumbers))


def _atoms(found: Mapping[str, Any], symbols: Sequence[str]) -> Iterator[Grid]:
    columns = {key: found[key] for key in _BY_ATOM if found.get(key)}
    count = max((len(values) for values in columns.values()), default=0)
    columns = {key: values for key, values in columns.items() if len(values) == count}
    if columns:
        rows = [
            (_name(at + 1, symbols), *(f"{v[at]:.{_BY_ATOM[key][1]}f}" for key, v in columns.items()))
            for at in range(min(count, _MOST_ROWS))
        ]
        yield _grid("atoms", ("atom", *(_BY_ATOM[key][0] for key in columns)), rows, count)
    if each := found.get("fukui"):
        cells = [(f"{row['element']}{row['atom']}", *(f"{row[key]:.3f}" for key in _FUKUI)) for row in each]
        yield _grid("Fukui indices", ("atom", *_FUKUI.values()), cells[:_MOST_ROWS], len(each))


def _bonds(each: Sequence[Mapping[str, Any]], symbols: Sequence[str]) -> Grid:
    strong = [row for row in each if row["order"] >= 0.5]
    rows = [
        ("-".join(_name(number, symbols) for number in row["atoms"]), f"{row['order']:.3f}")
        for row in strong[:_MOST_ROWS]
    ]
    return _grid("Wiberg bond orders", ("bond", "order"), rows, len(strong))


def _name(number: int, symbols: Sequence[str]) -> str:
    return f"{symbols[number - 1] if number <= len(symbols) else ''}{number}"
