"""The molecule of QCSchema (`qcschema_molecule`), in bohr, from JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.chemistry.elements import NUMBERS
from qmrunner.errors import UsageError
from qmrunner.model.units import ANGSTROM_PER_BOHR

# Values of the schema itself are nested 6 deep; Python's writer of JSON ends at 300.
_MOST_LEVELS = 60
_LARGEST = 1e300
# Decks have columns for 5 digits.
_FARTHEST_BOHR = 1e4
_REMEDY = "see Molecule, AtomicInput and OptimizationInput of QCElemental, whose dict() writes such a file"


@dataclass(frozen=True, slots=True)
class Molecule:
    """A molecule of QCSchema: `coordinates_bohr` is flat, `bonds` are pairs of atom numbers from 1, None if unknown.

    `multiplicity` None: not given. `isotopes` are atom numbers with their mass numbers.
    """

    symbols: tuple[str, ...]
    coordinates_bohr: tuple[float, ...]
    charge: int
    multiplicity: int | None
    bonds: tuple[tuple[int, int, float], ...] | None = None
    isotopes: tuple[tuple[int, int], ...] = ()


def load(text: str, name: str) -> Mapping[str, Any]:
    """The JSON object in a text. Raises UsageError `qcschema_invalid`."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise invalid(name, "this is not JSON", str(problem)[:200]) from None
    if not isinstance(document, dict):
        raise invalid(name, "the JSON is not an object", text.strip()[:80])
    _check_values(document, name)
    return document


def _check_values(document: Mapping[str, Any], name: str) -> None:
    """Refuse what Python reads and no other program, nor qmrunner's own writers: results repeat the whole input."""
    level: list[Any] = [document]
    for _ in range(_MOST_LEVELS):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
                    raise invalid(name, "a text has half of a surrogate pair", ascii(value)[:80])
            elif isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST:
                raise invalid(name, "a number is larger than any of the schema", repr(value)[:80])
        if not inner:
            return
        level = inner
    raise invalid(name, f"lists and objects are nested deeper than {_MOST_LEVELS} levels", "remove extras")


def within(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The molecule of a document: itself, or that of a result or an input, of an optimisation the last one."""
    inner = (document.get(key) for key in ("final_molecule", "molecule", "initial_molecule"))
    return document if "symbols" in document else next((found for found in inner if isinstance(found, dict)), document)


def molecule_of(fields: Mapping[str, Any], name: str) -> Molecule:
    """The molecule of a QCSchema object (`qcschema_molecule`). Raises UsageError as `read`."""
    symbols = listed(fields, "symbols", name)
    for number, symbol in enumerate(symbols, start=1):
        if not isinstance(symbol, str) or symbol.capitalize() not in NUMBERS:
            raise UsageError(
                "unknown_element", f"{name}: atom {number} is not a chemical element", evidence=repr(symbol)[:80],
                remedy="write the symbols of elements in `symbols`",
            )  # fmt: skip
    if not symbols:
        raise invalid(name, "the molecule has no atoms", "symbols: []")
    real = fields.get("real")
    if real is not None and not (isinstance(real, list) and len(real) == len(symbols)):
        raise invalid(name, "`real` must have a value for each atom", f"real: {real!r}"[:80])
    if real is not None and not all(flag is True for flag in real):
        raise unsupported(name, "ghost atoms are not computed", "real: false", "leave them out")
    numbers = fields.get("atomic_numbers")
    if numbers is not None and numbers != [NUMBERS[symbol.capitalize()] for symbol in symbols]:
        raise invalid(name, "`atomic_numbers` contradict `symbols`", f"atomic_numbers: {numbers!r}"[:80])
    return Molecule(
        symbols=tuple(str(symbol).capitalize() for symbol in symbols),
        coordinates_bohr=_coordinates(listed(fields, "geometry", name), len(symbols), name),
        charge=_charge(fields, name),
        multiplicity=_integer(fields, "molecular_multiplicity", name),
        bonds=_bonds(fields, len(symbols), name),
        isotopes=_isotopes(fields, symbols),
    )


def _charge(fields: Mapping[str, Any], name: str) -> int:
    """The charge of the molecule, else the sum of those of its fragments. Raises UsageError where they differ."""
    whole = _integer(fields, "molecular_charge", name)
    parts = fields.get("fragment_charges")
    if not parts:
        return whole or 0
    listed(fields, "fragment_charges", name)
    added = sum(_integer({"fragment_charges": part}, "fragment_charges", name) or 0 for part in parts)
    if whole is not None and whole != added:
        raise invalid(name, f"`molecular_charge` is {whole}, but the fragments add up to {added}",
                      f"fragment_charges: {parts!r}"[:80])  # fmt: skip
    return added


def points(molecule: Molecule) -> list[tuple[float, float, float]]:
    """The coordinates in angstrom."""
    flat = [value * ANGSTROM_PER_BOHR for value in molecule.coordinates_bohr]
    return [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)]


def _coordinates(rows: list[Any], atoms: int, name: str) -> tuple[float, ...]:
    nested = bool(rows) and all(isinstance(row, list) and len(row) == 3 for row in rows)
    flat = [value for row in rows for value in row] if nested else rows
    if len(flat) != 3 * atoms:
        raise invalid(name, f"{atoms} atoms need {3 * atoms} coordinates, in bohr", f"geometry: {len(flat)} numbers")
    for value in flat:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise invalid(name, "a coordinate is not a finite number", f"geometry: {value!r}"[:80])
        if abs(value) > _FARTHEST_BOHR:
            raise invalid(name, "a coordinate is outside any molecule", f"geometry: {value!r} bohr"[:80])
    return tuple(float(value) for value in flat)


def _bonds(fields: Mapping[str, Any], atoms: int, name: str) -> tuple[tuple[int, int, float], ...] | None:
    given = fields.get("connectivity")
    if not given:
        return None
    found = []
    for row in given if isinstance(given, list) else [given]:
        known = isinstance(row, list) and len(row) == 3 and all(isinstance(value, int | float) for value in row)
        if not known or not all(value == int(value) and 0 <= value < atoms for value in row[:2]) or row[0] == row[1]:
            raise invalid(name, "a bond is not [atom, atom, order] with atoms from 0", f"connectivity: {row!r}"[:80])
        found.append((int(row[0]) + 1, int(row[1]) + 1, float(row[2])))
    return tuple(found)


def _isotopes(fields: Mapping[str, Any], symbols: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Mass numbers of D and T only: QCElemental writes those of the most common isotopes into every molecule.

    Where there are none, masses (in u) name them.
    """
    found: dict[int, int] = {}
    for key in ("masses", "mass_numbers"):
        values = fields.get(key)
        if not isinstance(values, list) or len(values) != len(symbols):
            continue
        for at, (symbol, value) in enumerate(zip(symbols, values, strict=True), 1):
            if symbol in ("H", "h") and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                found[at] = round(value)
    return tuple((at, mass) for at, mass in found.items() if mass in (2, 3))


def listed(fields: Mapping[str, Any], key: str, name: str) -> list[Any]:
    """The list `key` of an object."""
    value = fields.get(key)
    if not isinstance(value, list):
        raise invalid(name, f"`{key}` must be a list", f"{key}: {value!r}"[:80])
    return value


def _integer(fields: Mapping[str, Any], key: str, name: str) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) > 1000:
        raise invalid(name, f"`{key}` must be a whole number", f"{key}: {value!r}"[:80])
    return int(value)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON")


def invalid(name: str, what: str, evidence: str) -> UsageError:
    """The error for a document that is not of this schema."""
    return UsageError("qcschema_invalid", f"{name}: {what}", evidence=evidence, remedy=_REMEDY)


def unsupported(name: str, what: str, evidence: str, remedy: str) -> UsageError:
    """The error for a document of this schema that is not computed here."""
    return UsageError("qcschema_unsupported", f"{name}: {what}", evidence=evidence, remedy=remedy)
