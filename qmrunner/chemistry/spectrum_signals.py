"""The signals of a spectrum, from the shift rows of a result. Loads no other package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def signals(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, tuple[int, ...]]]:
    """Shift in ppm and atom numbers of every group, from high shift to low."""
    groups = {tuple(row["equivalent_atoms"]): float(row["shift_ppm"]) for row in rows}
    return sorted(((shift, atoms) for atoms, shift in groups.items()), key=lambda signal: (-signal[0], signal[1]))


def atom_label(atoms: Sequence[int], symbol: str) -> str:
    """``H4-H6`` for consecutive numbers, ``H4,H7`` otherwise."""
    if len(atoms) > 2 and list(atoms) == list(range(atoms[0], atoms[-1] + 1)):
        return f"{symbol}{atoms[0]}\N{EN DASH}{symbol}{atoms[-1]}"
    if len(atoms) > 4:
        return f"{symbol}{atoms[0]},{symbol}{atoms[1]}… ({len(atoms)})"
    return ",".join(f"{symbol}{number}" for number in atoms)
