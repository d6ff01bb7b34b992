"""MOL and SDF files as xTB reads them.

xTB 6.5.1 wants seven fields in each row of bonds of a V2000 block, and stops with "Cannot read topology from connection
table" at the four that RDKit writes. Fields that are left out mean 0. It reads V3000 blocks as they are, and the first
molecule of a file alone.
"""

from __future__ import annotations

import re

_COUNTS, _WIDTH, _FIELDS = 3, 3, 7
_V2000_CHARGES = re.compile(rb"^M  CHG\s+\d+((?:\s+\d+\s+-?\d+)+)\s*$", re.MULTILINE)
_V3000_CHARGE = re.compile(rb"^M  V30 .* CHG=(-?\d+)", re.MULTILINE)


def padded(data: bytes) -> bytes | None:
    """The file with whole rows of bonds in its first molecule; None for a complete one and for other formats."""
    lines = data.split(b"\n")
    counts = lines[_COUNTS] if len(lines) > _COUNTS else b""
    atoms, bonds = counts[:_WIDTH].strip(), counts[_WIDTH : 2 * _WIDTH].strip()
    if b"V2000" not in counts or not (atoms.isdigit() and bonds.isdigit()):
        return None
    first = _COUNTS + 1 + int(atoms)
    rows = lines[first : first + int(bonds)]
    whole = [_whole(row) for row in rows]
    if whole == rows:
        return None
    return b"\n".join([*lines[:first], *whole, *lines[first + len(rows) :]])


def molecules(data: bytes) -> int:
    """How many molecules a file has."""
    return sum(bool(part.strip()) for part in data.split(b"$$$$"))


def charge(data: bytes) -> int:
    """The sum of the formal charges of the first molecule, which xTB takes where ``--chrg`` is 0 or not given."""
    first = data.replace(b"\r\n", b"\n").split(b"$$$$")[0]
    listed = [words for match in _V2000_CHARGES.finditer(first) for words in match[1].split()[1::2]]
    return sum(map(int, [*listed, *(match[1] for match in _V3000_CHARGE.finditer(first))]))


def _whole(row: bytes) -> bytes:
    """A row of three fields or more with zeros for those that are missing."""
    bare = row.rstrip()
    width = -(-len(bare) // _WIDTH) * _WIDTH
    if not 3 * _WIDTH <= width < _FIELDS * _WIDTH:
        return row
    return bare.ljust(width) + b"  0" * (_FIELDS - width // _WIDTH) + (b"\r" if row.endswith(b"\r") else b"")
