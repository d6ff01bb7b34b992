"""Reads the inputs of QCSchema, version 1: AtomicInput and OptimizationInput. Units are atomic.

Does not need QCElemental. A field that would change the answer and is not understood here is refused, never ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.chemistry.elements import NUMBERS
from qmrunner.chemistry.molecule import check_no_overlap, choose_multiplicity, electron_count
from qmrunner.engines.qcschema import BOHR_PER_ANGSTROM
from qmrunner.errors import UsageError

FILE = "qcschema-input.json"
DRIVERS = ("energy", "gradient", "hessian")
_ATOMIC, _OPTIMISATION = "qcschema_input", "qcschema_optimization_input"
_REMEDY = "see AtomicInput and OptimizationInput of QCElemental, whose dict() writes such a file"
_CONVERT = "write version 1 of the schema: in QCElemental, input.convert_v(1)"


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


@dataclass(frozen=True, slots=True)
class Request:
    """A checked input. `document` is the JSON as it was given, `optimiser` the keywords of an optimisation."""

    document: Mapping[str, Any]
    optimisation: bool
    driver: str
    method: str
    basis: str | None
    keywords: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    symbols: tuple[str, ...]
    coordinates_bohr: tuple[float, ...]
    charge: int
    multiplicity: int


def read(text: str, name: str) -> Request:
    """The input in a JSON text. Raises UsageError `qcschema_invalid`, with the path of the wrong field as evidence,
    `qcschema_unsupported`, and the errors of a molecule: `unknown_element`, `atoms_overlap`, `charge_multiplicity`."""
    document = load(text, name)
    schema = document.get("schema_name")
    optimisation = schema == _OPTIMISATION or (schema is None and "initial_molecule" in document)
    if document.get("schema_version", 1) != 1 or "specification" in document:
        raise _unsupported(name, "only version 1 of the schema is read", "schema_version", _CONVERT)
    if schema not in (None, _ATOMIC, _OPTIMISATION, "qc_schema_input"):
        raise _invalid(name, f"schema_name is neither {_ATOMIC} nor {_OPTIMISATION}", repr(schema)[:80])
    where = "input_specification" if optimisation else ""
    specification = _mapping(document, where, name) if optimisation else document
    model = _mapping(specification, "model", name)
    driver = "gradient" if optimisation else specification.get("driver")
    if driver not in DRIVERS:
        raise _unsupported(name, f"the driver is none of {', '.join(DRIVERS)}", f"driver: {driver!r}"[:80], _REMEDY)
    molecule = molecule_of(_mapping(document, "initial_molecule" if optimisation else "molecule", name), name)
    check_no_overlap(molecule.symbols, points(molecule))
    odd = electron_count(molecule.symbols, molecule.charge) % 2
    spin = 1 + odd if molecule.multiplicity is None else molecule.multiplicity
    return Request(
        document=document,
        optimisation=optimisation,
        driver=str(driver),
        method=_word(model, "method", name),
        basis=None if model.get("basis") in (None, "") else _word(model, "basis", name),
        keywords=_mapping(specification, "keywords", name, optional=True),
        optimiser=_mapping(document, "keywords", name, optional=True) if optimisation else {},
        symbols=molecule.symbols,
        coordinates_bohr=molecule.coordinates_bohr,
        charge=molecule.charge,
        multiplicity=choose_multiplicity(molecule.symbols, molecule.charge, spin),
    )


def load(text: str, name: str) -> Mapping[str, Any]:
    """The JSON object in a text. Raises UsageError `qcschema_invalid`."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise _invalid(name, "this is not JSON", str(problem)[:200]) from None
    if not isinstance(document, dict):
        raise _invalid(name, "the JSON is not an object", text.strip()[:80])
    return document


def molecule_of(fields: Mapping[str, Any], name: str) -> Molecule:
    """The molecule of a QCSchema object (`qcschema_molecule`). Raises UsageError as `read`."""
    symbols = _list(fields, "symbols", name)
    for number, symbol in enumerate(symbols, start=1):
        if not isinstance(symbol, str) or symbol.capitalize() not in NUMBERS:
            raise UsageError(
                "unknown_element", f"{name}: atom {number} is not a chemical element", evidence=repr(symbol)[:80],
                remedy="write the symbols of elements in `symbols`",
            )  # fmt: skip
    real = fields.get("real")
    if isinstance(real, list) and not all(flag is True for flag in real):
        raise _unsupported(name, "ghost atoms are not computed", "real: false", "leave them out")
    if not symbols:
        raise _invalid(name, "the molecule has no atoms", "symbols: []")
    return Molecule(
        symbols=tuple(str(symbol).capitalize() for symbol in symbols),
        coordinates_bohr=_coordinates(_list(fields, "geometry", name), len(symbols), name),
        charge=_integer(fields, "molecular_charge", name) or 0,
        multiplicity=_integer(fields, "molecular_multiplicity", name),
        bonds=_bonds(fields, len(symbols), name),
        isotopes=_isotopes(fields, symbols),
    )


def points(molecule: Molecule) -> list[tuple[float, float, float]]:
    """The coordinates in angstrom."""
    flat = [value / BOHR_PER_ANGSTROM for value in molecule.coordinates_bohr]
    return [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)]


def _coordinates(rows: list[Any], atoms: int, name: str) -> tuple[float, ...]:
    flat = [value for row in rows for value in row] if rows and all(isinstance(row, list) for row in rows) else rows
    if len(flat) != 3 * atoms:
        raise _invalid(name, f"{atoms} atoms need {3 * atoms} coordinates, in bohr", f"geometry: {len(flat)} numbers")
    for value in flat:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _invalid(name, "a coordinate is not a finite number", f"geometry: {value!r}"[:80])
    return tuple(float(value) for value in flat)


def _bonds(fields: Mapping[str, Any], atoms: int, name: str) -> tuple[tuple[int, int, float], ...] | None:
    given = fields.get("connectivity")
    if not given:
        return None
    found = []
    for row in given if isinstance(given, list) else [given]:
        known = isinstance(row, list) and len(row) == 3 and all(isinstance(value, int | float) for value in row)
        if not known or not all(value == int(value) and 0 <= value < atoms for value in row[:2]) or row[0] == row[1]:
            raise _invalid(name, "a bond is not [atom, atom, order] with atoms from 0", f"connectivity: {row!r}"[:80])
        found.append((int(row[0]) + 1, int(row[1]) + 1, float(row[2])))
    return tuple(found)


def _isotopes(fields: Mapping[str, Any], symbols: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Mass numbers of D and T only: QCElemental writes those of the most common isotopes into every molecule."""
    numbers = fields.get("mass_numbers")
    if not isinstance(numbers, list) or len(numbers) != len(symbols):
        return ()
    pairs = zip(symbols, numbers, strict=True)
    return tuple((at, mass) for at, (symbol, mass) in enumerate(pairs, 1) if symbol in ("H", "h") and mass in (2, 3))


def _mapping(fields: Mapping[str, Any], key: str, name: str, *, optional: bool = False) -> Mapping[str, Any]:
    value = fields.get(key)
    if value is None and optional:
        return {}
    if not isinstance(value, dict):
        raise _invalid(name, f"`{key}` must be an object", f"{key}: {value!r}"[:80])
    return value


def _list(fields: Mapping[str, Any], key: str, name: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise _invalid(name, f"`{key}` must be a list", f"{key}: {value!r}"[:80])
    return value


def _word(fields: Mapping[str, Any], key: str, name: str) -> str:
    value = fields.get(key)
    if isinstance(value, dict):
        raise _unsupported(name, f"`{key}` must be a name: a basis set written out is not read", key, "give its name")
    if not isinstance(value, str) or not value.strip():
        raise _invalid(name, f"`{key}` must be a name", f"{key}: {value!r}"[:80])
    return value.strip()


def _integer(fields: Mapping[str, Any], key: str, name: str) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or abs(value) > 1000:
        raise _invalid(name, f"`{key}` must be a whole number", f"{key}: {value!r}"[:80])
    return int(value)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON")


def _invalid(name: str, what: str, evidence: str) -> UsageError:
    return UsageError("qcschema_invalid", f"{name}: {what}", evidence=evidence, remedy=_REMEDY)


def _unsupported(name: str, what: str, evidence: str, remedy: str) -> UsageError:
    return UsageError("qcschema_unsupported", f"{name}: {what}", evidence=evidence, remedy=remedy)
