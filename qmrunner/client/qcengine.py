"""QCEngine's `compute` on qmrunner's workers, and harnesses with which QCEngine itself uses them.

`compute` needs QCElemental, `register` QCEngine (extra `qcengine`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qmrunner.client.answer import Client, ask

_PROGRAMS = ("nwchem", "xtb")
_PREFIX = "qmrunner-"
_RAISED = "qmrunner could not compute this input: "


def compute(
    input_data: Any,
    program: str | None = None,
    raise_error: bool = False,
    task_config: Mapping[str, Any] | None = None,
    return_dict: bool = False,
    return_version: int = -1,
    *,
    client: Client,
) -> Any:
    """The answer to an AtomicInput or OptimizationInput, as `qcengine.compute` returns it.

    `input_data` is a model of QCElemental or a dict, `program` nwchem or xtb; None: by the method. The worker decides
    about cores and memory, so `task_config` has no effect. Inputs of version 2 are converted, and so is their answer.
    A failure is returned as FailedOperation, or raised as RuntimeError with `raise_error`.
    """
    version, document = _document(input_data)
    answer = ask(client, document, None if program is None else program.lower())
    if raise_error and not answer.get("success"):
        error = answer["error"]
        raise RuntimeError(f"{_RAISED}{error['error_type']}: {error['error_message']}")
    wanted = version if return_version == -1 else return_version
    model = _model(answer)
    if wanted == 2:
        given = {"external_input_data": input_data} if version == 2 and answer.get("success") else {}
        model = model.convert_v(2, **given)
    if not return_dict:
        return model
    return model.model_dump() if wanted == 2 else model.dict()


def register(client: Client) -> tuple[str, ...]:
    """Make `qmrunner-nwchem` and `qmrunner-xtb` programs of this process's QCEngine, and return these names.

    Then `qcengine.compute(input, "qmrunner-xtb")`, and optimisations by geomeTRIC and other procedures with the keyword
    `program: "qmrunner-xtb"`, run on qmrunner's workers. A second call replaces the client of the first.
    """
    from qcengine.programs.base import list_all_programs, register_program, unregister_program
    from qcengine.programs.model import ProgramHarness

    from qmrunner import __version__

    class Harness(ProgramHarness):  # type: ignore[misc]  # QCEngine publishes no types
        """One engine of qmrunner as a program of QCEngine."""

        @staticmethod
        def found(raise_error: bool = False) -> bool:
            """The workers have the program; a job that needs a missing one is refused."""
            return True

        def get_version(self) -> str:
            return __version__

        def compute(self, input_data: Any, config: Any) -> Any:
            return compute(input_data, self.name.removeprefix(_PREFIX), client=client)

    names = tuple(f"{_PREFIX}{program}" for program in _PROGRAMS)
    plain = dict.fromkeys(("scratch", "thread_parallel", "node_parallel", "managed_memory"), False)
    for name in names:
        if name in list_all_programs():
            unregister_program(name)
        register_program(Harness(name=name, thread_safe=True, **plain))
    return names


def _document(input_data: Any) -> tuple[int, dict[str, Any]]:
    """The version of an input, and the input as JSON of version 1."""
    if isinstance(input_data, Mapping):
        if input_data.get("schema_version", 1) == 1:
            return 1, dict(json.loads(json.dumps(input_data, default=_plain)))
        from qcelemental.models import v2

        kind = v2.OptimizationInput if "initial_molecule" in input_data else v2.AtomicInput
        input_data = kind(**input_data)
    version = int(input_data.schema_version)
    first = input_data if version == 1 else input_data.convert_v(1)
    return version, dict(json.loads(first.json()))


def _plain(value: Any) -> Any:
    """An array as a list."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _model(answer: dict[str, Any]) -> Any:
    """The answer as a model of QCElemental, version 1."""
    from qcelemental.models import v1

    if not answer.get("success"):
        return v1.FailedOperation(**answer)
    return v1.OptimizationResult(**answer) if "trajectory" in answer else v1.AtomicResult(**answer)
