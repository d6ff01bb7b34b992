"""Reads the inputs of QCSchema, version 1: AtomicInput and OptimizationInput. Units are atomic.

Does not need QCElemental. A field that would change the answer and is not understood here is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qmrunner.chemistry.molecule import check_no_overlap, choose_multiplicity, electron_count
from qmrunner.chemistry.qcschema_molecule import invalid, load, molecule_of, points, unsupported

FILE = "qcschema-input.json"
DRIVERS = ("energy", "gradient", "hessian")
_ATOMIC, _OPTIMISATION = "qcschema_input", "qcschema_optimization_input"
_REMEDY = "see AtomicInput and OptimizationInput of QCElemental, whose dict() writes such a file"
_CONVERT = "write version 1 of the schema: in QCElemental, input.convert_v(1)"


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
        raise unsupported(name, "only version 1 of the schema is read", "schema_version", _CONVERT)
    if schema not in (None, _ATOMIC, _OPTIMISATION, "qc_schema_input"):
        raise invalid(name, f"schema_name is neither {_ATOMIC} nor {_OPTIMISATION}", repr(schema)[:80])
    where = "input_specification" if optimisation else ""
    specification = _mapping(document, where, name) if optimisation else document
    model = _mapping(specification, "model", name)
    driver = "gradient" if optimisation else specification.get("driver")
    if driver not in DRIVERS:
        raise unsupported(name, f"the driver is none of {', '.join(DRIVERS)}", f"driver: {driver!r}"[:80], _REMEDY)
    for key in ("extras", "protocols"):
        _mapping(document, key, name, optional=True)
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


def _mapping(fields: Mapping[str, Any], key: str, name: str, *, optional: bool = False) -> Mapping[str, Any]:
    value = fields.get(key)
    if value is None and optional:
        return {}
    if not isinstance(value, dict):
        raise invalid(name, f"`{key}` must be an object", f"{key}: {value!r}"[:80])
    return value


def _word(fields: Mapping[str, Any], key: str, name: str) -> str:
    value = fields.get(key)
    if isinstance(value, dict):
        raise unsupported(name, f"`{key}` must be a name: a basis set written out is not read", key, "give its name")
    if not isinstance(value, str) or not value.strip():
        raise invalid(name, f"`{key}` must be a name", f"{key}: {value!r}"[:80])
    return value.strip()
