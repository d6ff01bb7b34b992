"""Writes structure and arguments of an xTB run from a QCSchema input. The structure is in bohr, as given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qmrunner.chemistry.elements import NUMBERS
from qmrunner.engines.qcschema_input import Request
from qmrunner.errors import UsageError

# xTB recognises the format of Turbomole by this ending.
STRUCTURE = "qcschema.coord"
METHODS = {
    "gfn2-xtb": ("--gfn", "2"), "gfn1-xtb": ("--gfn", "1"), "gfn0-xtb": ("--gfn", "0"), "gfn-ff": ("--gfnff",),
    "gfn2": ("--gfn", "2"), "gfn1": ("--gfn", "1"),
}  # fmt: skip
_MOST = 1e6
_LAST = 86  # radon
# Keyword of the harness of xTB in QCEngine → flag.
_NUMBERS = {"accuracy": "--acc", "electronic_temperature": "--etemp", "max_iterations": "--iterations"}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")  # no flag
_LEVELS = {"GAU": "normal", "GAU_TIGHT": "tight", "GAU_LOOSE": "loose"}


def is_known(method: str) -> bool:
    """Whether a method is one of xTB."""
    return method.lower() in METHODS


def write(request: Request) -> tuple[str, list[str]]:
    """The structure in Turbomole's format, and the arguments. Raises UsageError `qcschema_unsupported`,
    `element_outside_basis`."""
    if not is_known(request.method):
        raise _unsupported("xTB has no such method", f"model.method: {request.method!r}"[:80], f"known: {_known()}")
    for number, symbol in enumerate(request.symbols, start=1):
        if NUMBERS[symbol] > _LAST:
            raise UsageError(
                "element_outside_basis", f"{request.method} has no parameters for {symbol} (atom {number})",
                evidence=symbol, remedy="use a program that knows this element",
            )  # fmt: skip
    args = [*METHODS[request.method.lower()], "--chrg", str(request.charge), "--uhf", str(request.multiplicity - 1)]
    args += _options(request.keywords)
    if request.optimisation:
        args += _optimiser(request.optimiser)
    else:
        args += {"energy": [], "gradient": ["--grad"], "hessian": ["--hess"]}[request.driver]
    flat = request.coordinates_bohr
    rows = zip(request.symbols, flat[::3], flat[1::3], flat[2::3], strict=True)
    atoms = [f"{x:24.14f}{y:24.14f}{z:24.14f}  {symbol.lower()}" for symbol, x, y, z in rows]
    return "\n".join(["$coord", *atoms, "$end", ""]), args


def _options(keywords: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in keywords.items():
        number = type(value) in (int, float) and 0 < value <= _MOST
        if name == "max_iterations":
            number = number and value == int(value)
            value = int(value) if number else value
        if name in _NUMBERS and number:
            found += [_NUMBERS[name], str(value)]
        elif name == "solvent" and isinstance(value, str) and _WORD.fullmatch(value):
            found += ["--alpb", value] if value.lower() not in ("none", "vacuum") else []
        elif name != "verbosity":
            raise _unsupported(
                "unknown keyword or value for xTB", f"{name}: {value!r}"[:80], f"known: {', '.join(_NUMBERS)}, solvent"
            )
    return found


def _optimiser(keywords: Mapping[str, Any]) -> list[str]:
    level, more = "normal", []
    for name, value in keywords.items():
        if name == "maxiter" and type(value) is int and 0 < value < 10_000:
            more = ["--cycles", str(value)]
        elif name == "convergence_set" and str(value).upper() in _LEVELS:
            level = _LEVELS[str(value).upper()]
        elif name != "program":
            raise _unsupported(
                "unknown keyword of the optimisation", f"{name}: {value!r}"[:80],
                f"known: program, maxiter, convergence_set ({', '.join(_LEVELS)})",
            )  # fmt: skip
    return ["--opt", level, *more]


def _known() -> str:
    return ", ".join(METHODS)


def _unsupported(what: str, evidence: str, remedy: str) -> UsageError:
    return UsageError("qcschema_unsupported", what, evidence=evidence, remedy=remedy)
