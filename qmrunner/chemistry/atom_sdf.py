"""An SDF record whose atoms carry their shifts, as RDKit reads them: one tag lists a value for each atom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_END = "M  END\n"
# RDKit's word for an atom without the property, and the longest line of a data block.
_MISSING, _WIDTH = "n/a", 200
_VALUES = {"shift_ppm": 4, "uncertainty_ppm": 2, "shielding_ppm": 4}


def record(structure: str, result: Mapping[str, Any]) -> str | None:
    """The structure of an SDF record with tags of `result`: `atom.dprop.shift_ppm` and so on, solvent, level, job.

    None if `structure` has no MOL block whose atoms are those of the shifts.
    """
    block, end, _ = structure.replace("\r\n", "\n").partition(_END)
    atoms = _atoms(block)
    rows = {int(row["atom"]): row for row in result["shifts"]}
    if not end or atoms is None or (rows and max(rows) > atoms):
        return None
    tags = {"qmrunner.job": str(result["id"]), "qmrunner.level": str(result["level"])}
    tags["qmrunner.solvent"] = str(result["solvent"])
    for name, digits in _VALUES.items():
        values = [_value(rows.get(number), name, digits) for number in range(1, atoms + 1)]
        if any(value != _MISSING for value in values):
            tags[f"atom.dprop.{name}"] = _wrapped(values)
    return block + end + "".join(f">  <{name}>\n{text}\n\n" for name, text in tags.items()) + "$$$$\n"


def _atoms(block: str) -> int | None:
    """The number of atoms by the counts line, or by the counts of a V3000 block."""
    lines = block.split("\n")
    counts = next((line.split() for line in lines if line.startswith("M  V30 COUNTS")), None)
    word = counts[3] if counts and len(counts) > 3 else lines[3][:3].strip() if len(lines) > 3 else ""
    return int(word) if word.isascii() and word.isdigit() else None


def _value(row: Mapping[str, Any] | None, name: str, digits: int) -> str:
    value = None if row is None else row.get(name)
    return _MISSING if value is None else f"{float(value):.{digits}f}"


def _wrapped(values: Sequence[str]) -> str:
    lines = [""]
    for value in values:
        if len(lines[-1]) + len(value) + 1 > _WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {value}".lstrip()
    return "\n".join(lines)
