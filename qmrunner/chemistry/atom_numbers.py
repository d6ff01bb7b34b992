"""Numbers of atoms in a SMILES or MOL block that RDKit keeps in eight or sixteen bits: larger ones would silently
become other ones, `[65549CH4]` a 13C."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qmrunner.errors import UsageError

# What no atom exceeds; a MOL file of version 2000 allows as much charge.
LARGEST = {"charge": 15, "mass number": 999, "number of hydrogens": 15, "valence": 15}
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_IN_BRACKETS = {
    "mass number": re.compile(r"\[(\d+)"),
    "number of hydrogens": re.compile(r"H(\d+)"),
    "charge": re.compile(r"[+-](\d+)"),
}
_V3000 = re.compile(r"\b(CHG|MASS|VAL|HCOUNT)=-?(\d+)")
_V2000 = re.compile(r"^M  (CHG|ISO) *\d+((?: +-?\d+| *-\d+)+)", re.MULTILINE)
_MEANS = {
    "CHG": "charge", "ISO": "mass number", "MASS": "mass number", "VAL": "valence", "HCOUNT": "number of hydrogens",
}  # fmt: skip


def check_smiles(smiles: str) -> None:
    """Raise UsageError `number_too_large` for a number in brackets that no atom can have."""
    for atom in _BRACKETS.findall(smiles):
        for what, pattern in _IN_BRACKETS.items():
            for number in pattern.findall(atom):
                check(what, number, atom)


def check_block(block: str) -> None:
    """Raise UsageError `number_too_large` for a number of a MOL block that no atom can have."""
    for what, number, line in _numbers(block):
        check(what, number, line)


def check(what: str, number: str, where: str) -> None:
    """Raise UsageError `number_too_large` for a number, in digits, beyond the `LARGEST` of its kind."""
    if len(number.lstrip("-0")) > 4 or abs(int(number)) > LARGEST[what]:
        raise UsageError(
            "number_too_large",
            f"no atom has a {what} of {number[:20]}",
            evidence=where[:80],
            remedy=f"write the {what} of this atom: at most {LARGEST[what]}",
        )


def _numbers(block: str) -> Iterator[tuple[str, str, str]]:
    for found in _V3000.finditer(block):
        yield _MEANS[found[1]], found[2], found[0]
    for found in _V2000.finditer(block):
        # Pairs of an atom and its value, in columns of four.
        columns = found[0][9:]
        for at in range(4, len(columns), 8):
            value = columns[at : at + 4].strip()
            if value.lstrip("-").isdigit():
                yield _MEANS[found[1]], value, found[0]
