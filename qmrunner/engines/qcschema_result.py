"""Writes `qcschema.json` of a job that was submitted as QCSchema: AtomicResult, OptimizationResult, FailedOperation.

The result repeats the input's molecule, model, keywords, id and extras, as programs expect that read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.engines import qcschema, qcschema_input
from qmrunner.engines.qcschema_input import Request
from qmrunner.errors import UsageError

# Computed atoms may differ from the input by the digits of the engine's input.
_SAME_BOHR = 1e-6


def request_of(directory: Path, params: Mapping[str, Any]) -> Request | None:
    """The input in an attempt's directory, for a step with the param `qcschema`."""
    name = params.get("qcschema")
    if not isinstance(name, str):
        return None
    try:
        return qcschema_input.read(untrusted.read_text(directory / name), name)
    except (OSError, UsageError):
        return None


def document(run: qcschema.Run, request: Request) -> str | None:
    """The text of the file; None if `run` is not the requested calculation or lacks its result."""
    if tuple(run.symbols) != request.symbols or run.charge != request.charge:
        return None
    if run.multiplicity != request.multiplicity:
        return None
    if not request.optimisation and (run.driver != request.driver or not _same(run, request)):
        return None
    text = qcschema.document(run if request.optimisation else replace(run, coordinates_bohr=request.coordinates_bohr))
    if text is None:
        return None
    result = json.loads(text)
    given = request.document
    specification = given["input_specification"] if request.optimisation else given
    molecule = given["initial_molecule" if request.optimisation else "molecule"]
    result["model"] = dict(specification["model"])
    result["keywords"] = dict(request.keywords)
    if request.optimisation:
        result["molecule"] = _moved(molecule, result["molecule"])
        whole = _optimisation(given, result)
    else:
        result["molecule"] = dict(molecule)
        whole = result | _of_input(given, result["extras"])
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def failed(given: Mapping[str, Any], code: str, message: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """A FailedOperation. `details` (evidence, remedy and so on) become extras of the error."""
    return {
        "id": given.get("id"),
        "input_data": dict(given),
        "success": False,
        "error": {"error_type": code, "error_message": message, "extras": dict(details)},
        "extras": {},
    }


def _of_input(given: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that a result takes over from its input."""
    found = {key: given[key] for key in ("id", "protocols") if given.get(key) is not None}
    return found | {"extras": {**(given.get("extras") or {}), **extras}}


def _moved(molecule: Mapping[str, Any], computed: Mapping[str, Any]) -> dict[str, Any]:
    """The input's molecule at the computed coordinates; what identified the old coordinates is left out."""
    kept = {key: value for key, value in molecule.items() if key not in ("id", "identifiers", "provenance")}
    return kept | {"geometry": computed["geometry"], "fix_com": True, "fix_orientation": True}


def _optimisation(given: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """An OptimizationResult with the last point as its trajectory."""
    wanted = (given.get("protocols") or {}).get("trajectory", "all")
    trajectory: Sequence[Any] = [] if wanted == "none" else [last]
    fields = ("keywords", "input_specification", "initial_molecule")
    return {
        "schema_name": "qcschema_optimization_output",
        "schema_version": 1,
        **{key: given[key] for key in fields if key in given},
        "final_molecule": last["molecule"],
        "trajectory": list(trajectory),
        "energies": [last["properties"]["return_energy"]],
        "success": True,
        "provenance": last["provenance"],
        **_of_input(given, {"qmrunner": {"trajectory": "the last point only"}}),
    }


def _same(run: qcschema.Run, request: Request) -> bool:
    pairs = zip(run.coordinates_bohr, request.coordinates_bohr, strict=False)
    same_length = len(run.coordinates_bohr) == len(request.coordinates_bohr)
    return same_length and all(abs(a - b) < _SAME_BOHR for a, b in pairs)
