"""Workflows: from a job and its steps to the next steps, the result and the progress. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qmrunner.errors import UsageError, nearest
from qmrunner.workflows.base import Workflow
from qmrunner.workflows.conformers import ConformersWorkflow
from qmrunner.workflows.hueytask import HueyWorkflow
from qmrunner.workflows.nmr import NmrWorkflow
from qmrunner.workflows.single import SingleWorkflow

WORKFLOWS: dict[str, Workflow] = {
    "nmr": NmrWorkflow(),
    "conformers": ConformersWorkflow(),
    "nwchem": SingleWorkflow(engine="nwchem", task="deck"),
    "xtb": SingleWorkflow(engine="xtb", task="user"),
    "crest": SingleWorkflow(engine="crest", task="user"),
    "huey": HueyWorkflow(),
}


def workflow(kind: str) -> Workflow:
    """The workflow for a kind of job. Raises UsageError `unknown_kind` with the nearest match."""
    found = WORKFLOWS.get(kind)
    if found is not None:
        return found
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


__all__ = ["WORKFLOWS", "Workflow", "engines_needed", "workflow"]
