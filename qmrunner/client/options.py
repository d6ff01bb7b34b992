"""The options of each kind of job, named as in the HTTP API. What is not given has the server's default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar, get_type_hints

from qmrunner.errors import UsageError, nearest

F = TypeVar("F", bound=Callable[..., Any])


class CommonOptions(TypedDict, total=False):
    """Options of every kind of job. `key` (idempotency): the same request with the same key gives the same job."""

    name: str | None
    group: str | None
    priority: int
    key: str
    fresh: bool
    allow_altering: bool
    require: list[str]


class MoleculeOptions(CommonOptions, total=False):
    """Options of jobs that start from a molecule."""

    solvent: str
    conformers: str
    max_conformers: int | None
    max_lost_weight: float
    charge: int | None
    multiplicity: int | None
    temperature_k: float
    allow_topology_change: bool
    max_atoms: int


class NmrOptions(MoleculeOptions, total=False):
    """Options of an NMR prediction. `level` is quick, draft or production."""

    level: str


def spelled_out(options: type) -> Callable[[F], F]:
    """Shows the options by name in `help` and in completions: the method takes them as ``**options``."""

    def shown(method: F) -> F:
        signature = inspect.signature(method)
        given = signature.parameters.values()
        fixed = [parameter for parameter in given if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        known = {parameter.name for parameter in fixed}
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=hint)
            for name, hint in get_type_hints(options).items()
            if name not in known
        ]
        method.__signature__ = signature.replace(parameters=[*fixed, *more])  # type: ignore[attr-defined]
        return method

    return shown


def checked(given: Mapping[str, Any], options: type) -> dict[str, Any]:
    """The options as given. Raises UsageError `unknown_option`."""
    known = list(get_type_hints(options))
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}? " if near else ""
            raise UsageError(
                "unknown_option", f"there is no option {name}", remedy=f"{hint}known are {', '.join(sorted(known))}"
            )
    return dict(given)
