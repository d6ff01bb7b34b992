"""The files of a job, wherever they were written: fetched into this machine's jobs folder on demand."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qmrunner import untrusted
from qmrunner.app import App
from qmrunner.artifacts.blobs import ArtifactsUnavailable
from qmrunner.attempt.publish import OUTPUT, write_job_result
from qmrunner.attempt.reuse import RESULT
from qmrunner.errors import NotFoundError, NotReadyError
from qmrunner.model.states import JOB_FINAL
from qmrunner.store import jobs as job_store
from qmrunner.store.artifacts import JOB, LOG, File

if TYPE_CHECKING:
    from qmrunner.artifacts.files import Artifacts
    from qmrunner.model.jobs import Attempt, Step


def names(app: App, job_id: str) -> list[str]:
    """Paths in the job's folder of all its files, wherever they are, sorted. Raises NotFoundError."""
    folder = app.settings.jobs_root / job_id
    if app.artifacts is None:
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(folder)) for path in found if not path.name.startswith("."))
    files = (file.path for file in app.artifacts.files(job_id, JOB) if not Path(file.path).name.startswith("."))
    return sorted({*files, *([RESULT] if _over(app, job_id) else [])})


def listed(app: App, job_id: str) -> list[tuple[str, int]]:
    """Name and bytes of each of `names`, where an artifact store has them. Raises NotFoundError."""
    assert app.artifacts is not None
    rows = app.artifacts.files(job_id, JOB)
    found = {file.path: file.bytes for file in rows if not Path(file.path).name.startswith(".")}
    if _over(app, job_id):
        _write_result(app, job_id)
        found[RESULT] = (app.settings.jobs_root / job_id / RESULT).stat().st_size
    return sorted(found.items())


def bring_own(app: App, job_id: str) -> list[str]:
    """Fetch the files of the job itself, without those of its steps, to this machine. Returns those that cannot be
    fetched."""
    if app.artifacts is None:
        return []
    files = [file for file in app.artifacts.files(job_id, JOB) if "/" not in file.path]
    try:
        lacking = app.artifacts.bring(files, app.settings.jobs_root / job_id)
        _write_result(app, job_id)
    except (ArtifactsUnavailable, OSError):
        return [file.path for file in files]
    return [file.path for file in lacking]


def published_file(app: App, job_id: str, name: str) -> Path:
    """One file of a job, named as in `names`: its path on this machine, verified if it was downloaded.

    Raises NotFoundError `job_unknown` or `file_unknown`, NotReadyError `artifacts_unavailable` or `artifact_damaged`.
    A name that is not among the job's files never reaches the filesystem.
    """
    with app.store.read() as connection:
        job_store.get(connection, job_id)  # so that an invalid id never reaches the filesystem, either
    if not _is_published(app, job_id, name):
        raise NotFoundError(
            "file_unknown", f"job {job_id} has no file {name!r}", remedy=f"`qmrunner result {job_id}` lists its files"
        )
    folder = app.settings.jobs_root / job_id
    if app.artifacts is not None:
        _bring(app.artifacts, app.artifacts.files(job_id, JOB, paths=[name]), folder)
        if name == RESULT:
            _write_result(app, job_id)
    return folder / name


def _is_published(app: App, job_id: str, name: str) -> bool:
    if app.artifacts is None:
        return name in names(app, job_id)
    return bool(app.artifacts.files(job_id, JOB, paths=[name])) or (name == RESULT and _over(app, job_id))


def bring_all(app: App, job_id: str) -> None:
    """Fetch every file of the job into its folder on this machine. Raises NotReadyError."""
    if app.artifacts is not None:
        _bring(app.artifacts, app.artifacts.files(job_id, JOB), app.settings.jobs_root / job_id)
        _write_result(app, job_id)


def log(app: App, step: Step, attempt: Attempt) -> Path | None:
    """The raw output of an attempt on this machine; None if only the machine that runs or ran the attempt has it."""
    path = Path(attempt.log)
    if path.is_file() or app.artifacts is None:
        return path
    folder = app.settings.jobs_root / step.job_id
    packed = f"{step.name}.{attempt.number}.log.gz"
    kept = app.artifacts.files(step.job_id, LOG, paths=[packed])
    if kept:
        place = app.settings.logs_root / step.job_id
        _bring(app.artifacts, kept, place)
        target = place / packed.removesuffix(".gz")
        with untrusted.open_file(place / packed) as file, gzip.open(file) as log, untrusted.create(target) as out:
            shutil.copyfileobj(log, out, 1 << 20)
        return target
    published = app.artifacts.files(step.job_id, JOB, paths=[f"{step.name}/{OUTPUT}"])
    if published and published[0].attempt == attempt.number:
        _bring(app.artifacts, published, folder)
        return folder / published[0].path
    return None


def _over(app: App, job_id: str) -> bool:
    with app.store.read() as connection:
        return job_store.get(connection, job_id).state in JOB_FINAL


def _write_result(app: App, job_id: str) -> None:
    """Write the job's result.json, once the job has ended. Its content comes from the store, so any machine can write
    it."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
        steps = job_store.of_job(connection, job_id)
    if job.state in JOB_FINAL:
        write_job_result(app.settings.jobs_root, job, steps)


def _bring(artifacts: Artifacts, files: list[File], folder: Path) -> None:
    try:
        lacking = artifacts.bring(files, folder)
    except OSError as problem:
        raise NotReadyError(
            "home_unwritable",
            f"files of the job could not be written below {folder}",
            evidence=str(problem),
            remedy="make that folder writable for this user, or free space there",
        ) from problem
    if lacking:
        raise NotReadyError(
            "artifact_damaged",
            f"{len(lacking)} file(s) in {artifacts.where} are missing or differ from what was stored",
            evidence=", ".join(file.path for file in lacking[:5]),
            remedy="submit the job again with --fresh, or use the machine that computed it",
        )
