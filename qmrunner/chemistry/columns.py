"""Finds the columns of an XYZ file with element and position: extended XYZ names them in its comment line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qmrunner.errors import UsageError

_PROPERTIES = re.compile(r"""(?:^|\s)properties\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""", re.IGNORECASE)
_PERIODIC = re.compile(r"""(?:^|\s)pbc\s*=\s*["'\[{(]?\s*([^"'\]})]*)""", re.IGNORECASE)
_LATTICE = re.compile(r"(?:^|\s)lattice\s*=", re.IGNORECASE)
# Charges and multiplicities are smaller.
_MOST = 1000
_ELEMENT = ("species", "symbol", "symbols", "element", "elements")
_NUMBER = ("z", "numbers", "atomic_number", "atomic_numbers")
# Names of the charge and of the multiplicity.
ELECTRONS = (("charge", "total_charge"), ("multiplicity", "spin_multiplicity", "mult"))
_UNUSED = ("initial_charges", "initial_magmoms", "charges", "magmoms", "masses")
_POSITION = ("pos", "position", "positions", "coords")


@dataclass(frozen=True, slots=True)
class Columns:
    """Positions among the words of an atom's line, from 0; a line has at least `width` words."""

    element: int = 0
    position: int = 1
    width: int = 4

    @property
    def plain(self) -> bool:
        """Whether symbol and position are in the columns that every reader expects."""
        return (self.element, self.position) == (0, 1)

    def sentence(self) -> str:
        """The columns in words, counted from 1."""
        first = self.position + 1
        return f"element from column {self.element + 1}, position from columns {first} to {first + 2}"


PLAIN = Columns()


def named(comment: str, where: str, name: str) -> Columns:
    """The columns that a comment line names; the plain ones when it names none.

    Raises UsageError `unreadable_structure` when the named columns lack element or position.
    """
    hit = _PROPERTIES.search(comment)
    text = next((group for group in hit.groups() if group is not None), "") if hit else ""
    if ":" not in text:
        return PLAIN
    words = text.split(":")
    if len(words) % 3 or not all(kind.upper() in ("S", "R", "I", "L") for kind in words[1::3]):
        raise _unreadable(name, where, "cannot be read", text)
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for key, count in zip(words[::3], words[2::3], strict=True):
        if not (count.isascii() and count.isdigit() and 0 < int(count[:6]) < 10_000):
            raise _unreadable(name, where, "cannot be read", text)
        places.setdefault(key.lower(), (at, int(count)))
        at += int(count)
    element = _find(places, (*_ELEMENT, *_NUMBER), 1)
    position = _find(places, _POSITION, 3)
    if element is None or position is None:
        lacking = "element (species or Z)" if element is None else "position (pos, three columns)"
        raise _unreadable(name, where, f"names no column for the {lacking}", text)
    return Columns(element, position, at)


def unused(comment: str) -> list[str]:
    """Columns of charges, moments and masses of atoms, which are not read."""
    hit = _PROPERTIES.search(comment)
    words = re.split(r"[:\s\"']+", hit[0].partition("=")[2].lower()) if hit else []
    return [word for word in words if word in _UNUSED]


def integer(comment: str, keys: tuple[str, ...], name: str) -> int | None:
    """The whole number that a comment gives for the first of `keys` it has; None if it has none.

    Raises UsageError `unreadable_structure`.
    """
    for key in keys:
        hit = re.search(rf"""(?:^|\s){key}\s*=\s*["']?([^\s"']+)""", comment, re.IGNORECASE)
        if hit is None:
            continue
        try:
            value = float(hit[1])
        except ValueError:
            value = 0.5
        if not value.is_integer() or abs(value) > _MOST:
            raise UsageError(
                "unreadable_structure",
                f"{name}: `{key}=` in the comment line is no whole number",
                evidence=hit[0].strip()[:80],
                remedy=f"write it as in {key}=1, or leave it out",
            )
        return int(value)
    return None


def electrons(comment: str, name: str) -> tuple[int | None, int | None]:
    """Charge and multiplicity of a comment line (``charge=1 multiplicity=2``), None where it gives none.

    Raises UsageError `unreadable_structure` when extended XYZ gives one that is no whole number; other comments are
    free text.
    """
    try:
        charge, multiplicity = (integer(comment, keys, name) for keys in ELECTRONS)
    except UsageError:
        if _PROPERTIES.search(comment):
            raise
        return None, None
    return charge, multiplicity


def is_periodic(comment: str) -> bool:
    """Whether the comment declares a crystal: as in ASE, a lattice is one unless `pbc` is false in each direction."""
    hit = _PERIODIC.search(comment)
    if hit is None:
        return _LATTICE.search(comment) is not None
    return any(word[:1] in ("t", "1") for word in re.split(r"[\s,]+", hit[1].lower())[:3])


def without(comment: str) -> str:
    """The comment without the columns that it names."""
    return _PROPERTIES.sub("", comment).strip()


def _find(places: dict[str, tuple[int, int]], keys: tuple[str, ...], count: int) -> int | None:
    return next((places[key][0] for key in keys if key in places and places[key][1] == count), None)


def _unreadable(name: str, where: str, what: str, text: str) -> UsageError:
    return UsageError(
        "unreadable_structure",
        f"{name}: `Properties=` in the comment line ({where}) {what}",
        evidence=f"Properties={text[:200]}",
        remedy="write it as in Properties=species:S:1:pos:R:3, with positions in ångström, or leave it out",
    )
