"""What a run found, as people write it into a notebook: name, value, unit; then modes, atoms and bonds as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from qmrunner.cli.common import add_row

# Name in `result` → what it is called, digits, unit.
_VALUES: dict[str, tuple[str, int, str]] = {
    "energy_hartree": ("energy", 6, "Eh"),
    "enthalpy_hartree": ("enthalpy", 6, "Eh"),
    "free_energy_hartree": ("free energy", 6, "Eh"),
    "zero_point_energy_hartree": ("zero-point energy", 6, "Eh"),
    "entropy_cal_mol_k": ("entropy", 2, "cal/mol/K"),
    "heat_capacity_cal_mol_k": ("heat capacity", 2, "cal/mol/K"),
    "temperature_k": ("temperature", 2, "K"),
    "vertical_ionization_potential_ev": ("vertical ionization potential", 3, "eV"),
    "vertical_electron_affinity_ev": ("vertical electron affinity", 3, "eV"),
    "electrophilicity_index_ev": ("electrophilicity index", 3, "eV"),
    "gap_ev": ("HOMO-LUMO gap", 3, "eV"),
    "dipole_debye": ("dipole moment", 3, "D"),
    "imaginary_frequencies": ("imaginary frequencies", 0, ""),
}
SHOWN = frozenset({*_VALUES, "energy_of"})
_FUKUI = {"f_plus": "f(+)", "f_minus": "f(-)", "f_zero": "f(0)"}
_MOST_ROWS = 100


def tables(found: Mapping[str, Any], symbols: Sequence[str]) -> Iterator[Table]:
    """The tables of a result; `symbols` of its atoms, where they are known."""
    values = _values(found)
    if values.row_count:
        yield values
    if found.get("frequencies_cm1"):
        yield _modes(found["frequencies_cm1"], found.get("ir_intensities_km_mol") or [])
    yield from _atoms(found, symbols)
    if found.get("wiberg_bond_orders"):
        yield _bonds(found["wiberg_bond_orders"], symbols)


def _values(found: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for key, (name, digits, unit) in _VALUES.items():
        if isinstance(found.get(key), int | float):
            of = f" ({found['energy_of']})" if key == "energy_hartree" and found.get("energy_of") else ""
            add_row(table, f"{name}{of}", f"{found[key]:.{digits}f}", unit)
    return table


def _modes(wavenumbers: Sequence[float], intensities: Sequence[float]) -> Table:
    table = _titled("vibrations")
    with_intensity = len(intensities) == len(wavenumbers)
    for heading in ("mode", "wavenumber / cm-1", *(["IR intensity / km/mol"] if with_intensity else [])):
        table.add_column(heading, justify="right")
    for at, value in enumerate(wavenumbers[:_MOST_ROWS]):
        add_row(table, str(at + 1), f"{value:.2f}", *([f"{intensities[at]:.2f}"] if with_intensity else []))
    return _cut(table, len(wavenumbers))


def _atoms(found: Mapping[str, Any], symbols: Sequence[str]) -> Iterator[Table]:
    if charges := found.get("charges_e"):
        table = _titled("atomic charges")
        for heading in ("atom", "charge / e"):
            table.add_column(heading, justify="right")
        for number, value in enumerate(charges[:_MOST_ROWS], start=1):
            add_row(table, _name(number, symbols), f"{value:.4f}")
        yield _cut(table, len(charges))
    if rows := found.get("fukui"):
        table = _titled("Fukui indices")
        for heading in ("atom", *_FUKUI.values()):
            table.add_column(heading, justify="right")
        for row in rows[:_MOST_ROWS]:
            add_row(table, f"{row['element']}{row['atom']}", *(f"{row[key]:.3f}" for key in _FUKUI))
        yield _cut(table, len(rows))


def _bonds(rows: Sequence[Mapping[str, Any]], symbols: Sequence[str]) -> Table:
    table = _titled("Wiberg bond orders")
    for heading in ("bond", "order"):
        table.add_column(heading, justify="right")
    strong = [row for row in rows if row["order"] >= 0.5]
    for row in strong[:_MOST_ROWS]:
        add_row(table, "-".join(_name(number, symbols) for number in row["atoms"]), f"{row['order']:.3f}")
    return _cut(table, len(strong))


def _titled(title: str) -> Table:
    return Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False)


def _cut(table: Table, count: int) -> Table:
    if count > _MOST_ROWS:
        add_row(table, f"… {count - _MOST_ROWS} more: --json")
    return table


def _name(number: int, symbols: Sequence[str]) -> str:
    return f"{symbols[number - 1] if number <= len(symbols) else ''}{number}"
