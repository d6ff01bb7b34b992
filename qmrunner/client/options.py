"""The options of each kind of job, named as in the HTTP API. What is not given has the server's default."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from qmrunner.errors import UsageError, nearest

_EXAMPLES = {str: "'…'", bool: "True", int: "1", float: "298.15", list: "['gpu']"}
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
    """The options that are not None, as plain values. Raises UsageError `unknown_option`, `bad_option`."""
    hints = get_type_hints(options)
    for name in given:
        if name not in hints:
            near = near_option(name, hints)
            hint = f"did you mean {near}? " if near else ""
            raise UsageError(
                "unknown_option", f"there is no option {name}", remedy=f"{hint}known are {', '.join(sorted(hints))}"
            )
    return {name: _plain(name, value, hints[name]) for name, value in given.items() if value is not None}


def near_option(name: str, known: Iterable[str]) -> str | None:
    """The known option that `name` may stand for."""
    names = sorted(known)
    longer = [known for known in names if len(name) > 2 and known.startswith(name.lower())]
    return longer[0] if longer else nearest(name, names)


# Type of an option → how an error names it.
_WORDS = {str: "a text", bool: "True or False", int: "a whole number", float: "a number", list: "a list of texts"}
# Names in a table are often numbers.
_LABELS = frozenset({"name", "group", "key"})


def _plain(name: str, value: Any, hint: Any) -> Any:
    """The value in its type: whole numbers of NumPy and of float columns, and lists of any kind, are accepted."""
    kinds = [get_origin(kind) or kind for kind in (get_args(hint) if get_origin(hint) is UnionType else [hint])]
    kind = next(kind for kind in kinds if kind is not NoneType)
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    if kind is list and not isinstance(value, Mapping) and isinstance(value, Iterable):
        value = [value] if isinstance(value, str) else list(value)
        fits = all(isinstance(part, str) for part in value)
    elif isinstance(value, bool):
        fits = kind is bool
    elif kind is int and isinstance(value, float) and value.is_integer():
        value, fits = int(value), True
    elif kind is float:
        fits = isinstance(value, int | float) and math.isfinite(value)
    elif kind is str and name in _LABELS and isinstance(value, int):
        value, fits = str(value), True
    else:
        fits = isinstance(value, kind)
    if not fits:
        raise UsageError(
            "bad_option", f"the option {name} is {_WORDS[kind]}, not {type(value).__name__}", evidence=repr(value)[:80],
            remedy=f"as in {name}={_EXAMPLES[kind]}",
        )  # fmt: skip
    return value
