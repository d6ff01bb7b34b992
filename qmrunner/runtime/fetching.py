"""What a step needs, brought to this machine before it starts. Without an artifact store everything is here already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner.model.jobs import OPTIONAL, Evidence, Outcome, Step
from qmrunner.store.artifacts import JOB, File

if TYPE_CHECKING:
    from qmrunner.artifacts.files import Artifacts


def bring_inputs(artifacts: Artifacts, step: Step, job_folder: Path) -> list[File]:
    """The step's inputs into the job's folder. Returns those that it cannot do without and that cannot be had.

    Raises ArtifactsUnavailable, and OSError when they cannot be written here.
    """
    wanted = {path.removeprefix(OPTIONAL) for path in step.inputs.values()}
    optional = {path.removeprefix(OPTIONAL) for path in step.inputs.values() if path.startswith(OPTIONAL)}
    lacking = artifacts.bring(artifacts.files(step.job_id, JOB, paths=wanted), job_folder)
    return [file for file in lacking if file.path not in optional]


def damaged(lacking: list[File], where: str) -> Outcome:
    """The outcome of an attempt whose inputs are missing or not what they were. Tried again first: the machine that
    made them may still have them.
    """
    names = ", ".join(file.path for file in lacking)
    return Outcome(
        "failed",
        "artifact_damaged",
        failure_class="transient",
        evidence=Evidence(f"{where}/objects: {', '.join(file.sha256 for file in lacking)}"),
        summary=f"{names}: missing in the artifact store, or not what was stored",
        remedy="look at that storage; then submit the same again: only what is damaged is computed anew",
    )


def bring_published(artifacts: Artifacts, step: Step, job_folder: Path) -> bool:
    """All that an earlier step published, as it did; False when some of it cannot be had."""
    files = [file for file in artifacts.files(step.job_id, JOB, step=step.name) if _inside(file, step.name)]
    return bool(files) and not artifacts.bring(files, job_folder)


def _inside(file: File, step: str) -> bool:
    return file.path.startswith(f"{step}/")
