"""Fetches a step's inputs to this machine before it starts. Without an artifact store they are all here already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner import logs
from qmrunner.app import App
from qmrunner.artifacts.blobs import ArtifactsUnavailable
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.checkpoints import fetch_checkpoint
from qmrunner.model import policy
from qmrunner.model.jobs import OPTIONAL, Evidence, Outcome, Step
from qmrunner.model.policy import Deferred
from qmrunner.store.artifacts import JOB, File
from qmrunner.store.session import StoreUnavailable

if TYPE_CHECKING:
    from qmrunner.artifacts.files import Artifacts


def fetch_inputs(artifacts: Artifacts, step: Step, job_folder: Path) -> list[File]:
    """Fetch the step's inputs into the job's folder. Returns the required inputs that cannot be fetched.

    Raises ArtifactsUnavailable, and OSError when they cannot be written here.
    """
    wanted = {path.removeprefix(OPTIONAL) for path in step.inputs.values()}
    optional = {path.removeprefix(OPTIONAL) for path in step.inputs.values() if path.startswith(OPTIONAL)}
    lacking = artifacts.bring(artifacts.files(step.job_id, JOB, paths=wanted), job_folder)
    return [file for file in lacking if file.path not in optional]


def fetch(app: App, attempt: ActiveAttempt) -> Deferred | Outcome | None:
    """Fetch an attempt's inputs and checkpoint. None: they are here; else how the attempt ends.

    Raises OSError when they cannot be written here.
    """
    artifacts, step = app.artifacts, attempt.step
    if artifacts is None:
        return None
    try:
        lacking = fetch_inputs(artifacts, step, app.settings.jobs_root / step.job_id)
        fetch_checkpoint(artifacts, attempt, app.engine(step.engine))
    except (ArtifactsUnavailable, StoreUnavailable) as problem:
        fields = {"job": step.job_id, "step": step.name, "attempt": attempt.number, "evidence": problem.evidence}
        logs.get().warning("inputs_not_brought", **fields)
        return policy.defer(problem.code, problem.message)
    return damaged(lacking, artifacts.where) if lacking else None


def damaged(lacking: list[File], where: str) -> Outcome:
    """The outcome of an attempt whose inputs are missing or changed. Transient: the machine that made them may still
    have them.
    """
    names = ", ".join(file.path for file in lacking)
    return Outcome(
        "failed",
        "artifact_damaged",
        failure_class="transient",
        evidence=Evidence(f"{where}/objects: {', '.join(file.sha256 for file in lacking)}"),
        summary=f"{names}: missing in the artifact store, or changed since they were stored",
        remedy="check that storage; then submit the same job again: only damaged results are recomputed",
    )


def fetch_published(app: App, step: Step) -> bool:
    """Fetch all files that an earlier step published; False when one cannot be fetched."""
    artifacts = app.artifacts
    if artifacts is None:
        return True  # the files are on this machine
    try:
        published = artifacts.files(step.job_id, JOB, step=step.name)
        files = [file for file in published if file.path.startswith(f"{step.name}/")]
        return bool(files) and not artifacts.bring(files, app.settings.jobs_root / step.job_id)
    except (ArtifactsUnavailable, StoreUnavailable, OSError):
        return False  # compute it instead; the lost artifact store was logged already
