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
# What `extras.qmrunner.trajectory` reports: `_LAST` where the output does not hold every step.
_ALL, _RESUMED, _LAST = "every step", "the steps after the run was resumed", "the last point only"


def request_of(directory: Path, params: Mapping[str, Any]) -> Request | None:
    """The input in an attempt's directory, for a step with the param `qcschema`."""
    name = params.get("qcschema")
    if not isinstance(name, str):
        return None
    try:
        return qcschema_input.read(untrusted.read_text(directory / name), name)
    except (OSError, UsageError):
        return None


def document(run: qcschema.Run, request: Request, steps: Sequence[qcschema.Run] = ()) -> str | None:
    """The text of the file; None if `run` is not the requested calculation or lacks its result.

    `steps` are the points of an optimisation up to that of `run`.
    """
    if tuple(run.symbols) != request.symbols or run.charge != request.charge:
        return None
    if run.multiplicity != request.multiplicity:
        return None
    here = _same(run.coordinates_bohr, request.coordinates_bohr)
    if not request.optimisation and (run.driver != request.driver or not here):
        return None
    given = request.document
    if request.optimisation:
        last = _point(run, request)
        whole = None if last is None else _optimisation(request, last, _path(steps, run, request))
    else:
        last = _point(replace(run, coordinates_bohr=request.coordinates_bohr), request)
        molecule = {"molecule": dict(given["molecule"])}
        whole = None if last is None else last | molecule | _of_input(given, last["extras"])
    return None if whole is None else json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _point(run: qcschema.Run, request: Request) -> dict[str, Any] | None:
    """The AtomicResult of one structure, with the model and keywords of the input."""
    text = qcschema.document(run)
    if text is None:
        return None
    given = request.document
    specification = given["input_specification"] if request.optimisation else given
    result: dict[str, Any] = json.loads(text)
    if request.optimisation:
        result["molecule"] = _moved(given["initial_molecule"], result["molecule"])
    return result | {"model": dict(specification["model"]), "keywords": dict(request.keywords)}


def _path(steps: Sequence[qcschema.Run], run: qcschema.Run, request: Request) -> list[dict[str, Any]]:
    """The points before that of `run`; empty if one of them cannot be read."""
    if steps and _same(steps[-1].coordinates_bohr, run.coordinates_bohr):
        steps = steps[:-1]
    found = [_point(step, request) for step in steps if tuple(step.symbols) == request.symbols]
    whole = [point for point in found if point is not None]
    return whole if len(whole) == len(steps) else []


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


def _optimisation(request: Request, last: Mapping[str, Any], path: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An OptimizationResult; `path` are the points before the last."""
    given, points = request.document, [*path, last]
    wanted = (given.get("protocols") or {}).get("trajectory", "all")
    kept = {"none": [], "final": [last], "initial_and_final": [points[0], last][-len(points) :]}.get(wanted, points)
    start = points[0]["molecule"]["geometry"]
    held = _ALL if _same(start, request.coordinates_bohr) else _RESUMED if path else _LAST
    fields = ("keywords", "input_specification", "initial_molecule")
    return {
        "schema_name": "qcschema_optimization_output",
        "schema_version": 1,
        **{key: given[key] for key in fields if key in given},
        "final_molecule": last["molecule"],
        "trajectory": kept,
        "energies": [point["properties"]["return_energy"] for point in points],
        "success": True,
        "provenance": last["provenance"],
        **_of_input(given, {"qmrunner": {"trajectory": held}}),
    }


def _same(first: Sequence[float], second: Sequence[float]) -> bool:
    same_length = len(first) == len(second)
    return same_length and all(abs(a - b) < _SAME_BOHR for a, b in zip(first, second, strict=True))
