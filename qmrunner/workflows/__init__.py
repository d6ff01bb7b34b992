"""Workflows: from a job and its steps to the next steps, the result and the progress. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from qmrunner.errors import UsageError, nearest

if TYPE_CHECKING:
    from qmrunner.workflows.base import Workflow


def _nmr() -> Workflow:
    from qmrunner.workflows.nmr import NmrWorkflow

    return NmrWorkflow()


def _conformers() -> Workflow:
    from qmrunner.workflows.conformers import ConformersWorkflow

    return ConformersWorkflow()


def _single(engine: str, task: str) -> Workflow:
    from qmrunner.workflows.single import SingleWorkflow

    return SingleWorkflow(engine=engine, task=task)


def _huey() -> Workflow:
    from qmrunner.workflows.hueytask import HueyWorkflow

    return HueyWorkflow()


# Each kind, and what imports and makes its workflow.
WORKFLOWS: dict[str, Callable[[], Workflow]] = {
    "nmr": _nmr,
    "conformers": _conformers,
    "nwchem": lambda: _single("nwchem", "deck"),
    "xtb": lambda: _single("xtb", "user"),
    "crest": lambda: _single("crest", "user"),
    "huey": _huey,
}


@cache
def workflow(kind: str) -> Workflow:
    """The workflow for a kind of job. Raises UsageError `unknown_kind` with the nearest match."""
    found = WORKFLOWS.get(kind)
    if found is not None:
        return found()
    near = nearest(kind, tuple(WORKFLOWS))
    hint = f"did you mean {near}? " if near else ""
    raise UsageError(
        "unknown_kind", f"unknown kind of job {kind!r}", remedy=f"{hint}known are {', '.join(sorted(WORKFLOWS))}"
    )


def engines_needed(kind: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """The engines of all steps that a job may have, whatever is planned."""
    if kind not in ("nmr", "conformers"):
        return (kind,)
    searching = ("crest",) if params["conformers"] == "crest" else ("xtb",)
    return ("chemistry", *searching, *(("nwchem",) if kind == "nmr" else ()))


__all__ = ["WORKFLOWS", "engines_needed", "workflow"]
