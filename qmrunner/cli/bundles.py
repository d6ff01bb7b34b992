"""Options that several commands share, declared once as a dataclass whose fields are typer options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every dataclass parameter replaced by one option per field of that dataclass, at its place.

    All parameters of the command are keyword-only, and every field has a default. The command receives the dataclass,
    filled with the values of its options.
    """
    signature = inspect.signature(command, eval_str=True)
    bundles: dict[str, Any] = {
        p.name: p.annotation for p in signature.parameters.values() if is_dataclass(p.annotation)
    }
    options = [
        option
        for parameter in signature.parameters.values()
        for option in (_options(bundles[parameter.name]) if parameter.name in bundles else (parameter,))
    ]

    def run(**values: Any) -> None:
        for name, bundle in bundles.items():
            values[name] = bundle(**{field.name: values.pop(field.name) for field in fields(bundle)})
        command(**values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _options(bundle: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    for field in fields(bundle):
        assert field.default is not MISSING, f"{bundle.__name__}.{field.name} needs a default"
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
