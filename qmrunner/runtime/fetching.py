"""What a step needs, brought to this machine before it starts. Without an artifact store everything is here already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner.model.jobs import OPTIONAL, Step
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


def bring_published(artifacts: Artifacts, step: Step, job_folder: Path) -> bool:
    """All that an earlier step published, as it did; False when some of it cannot be had."""
    files = [file for file in artifacts.files(step.job_id, JOB, step=step.name) if _inside(file, step.name)]
    return bool(files) and not artifacts.bring(files, job_folder)


def _inside(file: File, step: str) -> bool:
    return file.path.startswith(f"{step}/")
