"""What a step needs, brought to this machine before it starts. Without an artifact store everything is here already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner import logs
from qmrunner.app import App
from qmrunner.artifacts.blobs import ArtifactsUnavailable
from qmrunner.attempt.active import Live
from qmrunner.attempt.checkpoints import bring_checkpoint
from qmrunner.model import policy
from qmrunner.model.jobs import OPTIONAL, Evidence, Outcome, Step
from qmrunner.model.policy import Deferred
from qmrunner.store.artifacts import JOB, File
from qmrunner.store.session import StoreUnavailable

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


def bring(app: App, live: Live) -> Deferred | Outcome | None:
    """Have what an attempt needs on this machine. None: it is here; else how the attempt ends.

    Raises OSError when it cannot be written here.
    """
    artifacts, step = app.artifacts, live.step
    if artifacts is None:
        return None
    try:
        lacking = bring_inputs(artifacts, step, app.settings.jobs_root / step.job_id)
        bring_checkpoint(artifacts, live, app.engine(step.engine))
    except (ArtifactsUnavailable, StoreUnavailable) as problem:
        told = {"job": step.job_id, "step": step.name, "attempt": live.number, "evidence": problem.evidence}
        logs.get().warning("inputs_not_brought", **told)
        return policy.put_off(problem.code, problem.message)
    return damaged(lacking, artifacts.where) if lacking else None


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


def bring_published(app: App, step: Step) -> bool:
    """Have all that an earlier step published on this machine, as it did; False when some of it cannot be had."""
    artifacts = app.artifacts
    if artifacts is None:
        return True  # where it was published is where it is looked for
    try:
        published = artifacts.files(step.job_id, JOB, step=step.name)
        files = [file for file in published if file.path.startswith(f"{step.name}/")]
        return bool(files) and not artifacts.bring(files, app.settings.jobs_root / step.job_id)
    except (ArtifactsUnavailable, StoreUnavailable, OSError):
        return False  # it is computed instead; that the artifact store is lost has been told
