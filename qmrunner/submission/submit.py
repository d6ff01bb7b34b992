"""Submit a job: the one function behind the command line and the HTTP API."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from qmrunner.app import App
from qmrunner.engines import INSTALL
from qmrunner.errors import NotReadyError
from qmrunner.model.jobs import Submission
from qmrunner.store import artifacts as artifact_store
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import accept
from qmrunner.store.session import StoreUnavailable
from qmrunner.submission.inputs import write_inputs


def missing_engine(name: str) -> NotReadyError:
    return NotReadyError(
        "engine_missing", f"this job needs {name}, which is not installed here", remedy=INSTALL.get(name)
    )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that the store holds. `new` is False when an earlier request with the same key made it."""

    job_id: str
    new: bool


def submit(app: App, submission: Submission) -> Accepted:
    """Store a checked job. Its files and rows are durable when this returns.

    Raises QmrunnerError, having stored nothing, when an engine it needs is missing or the store cannot be used, and
    UsageError `key_in_use`.
    """
    require_engines(app, submission)
    _ = app.artifacts  # raises before anything is created
    store = app.open_store(create=True)
    if submission.key and (known := _known(app, submission)) is not None:
        return Accepted(known, new=False)
    job_id = job_store.new_id()
    folder = app.settings.jobs_root / job_id
    app.verify_artifacts()
    try:
        write_inputs(folder / "input", submission.files)
        files = {f"input/{name}": folder / "input" / name for name in submission.files}
        sent = app.artifacts.put(files) if app.artifacts else {}
        with store.write() as connection:
            accept(connection, store.now(), job_id, submission, app.plan)
            rows = artifact_store.rows_of(job_id, artifact_store.JOB, "", 0, sent)
            artifact_store.add(connection, store.now(), rows)
    except BaseException as problem:
        stored = _stored(app, job_id) if isinstance(problem, StoreUnavailable) else False
        if stored:
            app.queue.notify()
            return Accepted(job_id, new=True)  # committed; only the reply of the store was lost
        if stored is False:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(problem, IntegrityError) and submission.key:
            known = _known(app, submission)  # another request with this key was stored at the same moment
            assert known is not None
            return Accepted(known, new=False)
        if isinstance(problem, OSError):
            raise NotReadyError(
                "home_unwritable",
                f"the input of the job could not be stored in {app.settings.jobs_root}",
                evidence=str(problem),
                remedy="free space there or make the folder writable, then submit again; nothing was stored",
            ) from problem
        raise
    app.queue.notify()
    return Accepted(job_id, new=True)


def require_engines(app: App, submission: Submission) -> None:
    """Refuse a job that this machine cannot finish, with NotReadyError `engine_missing`. With a shared store other
    machines may have the engine, so nothing is refused."""
    from qmrunner.workflows import engines_needed

    if not app.store.is_sqlite:
        return
    for engine in engines_needed(submission.kind, submission.params):
        if not app.located(engine):
            raise missing_engine(engine)


def _stored(app: App, job_id: str) -> bool | None:
    """Whether a commit whose reply was lost has succeeded. None: the store does not answer, and the files are kept."""
    try:
        with app.store.read() as connection:
            return bool(job_store.get_all(connection, {job_id}))
    except StoreUnavailable:
        return None


def _known(app: App, submission: Submission) -> str | None:
    with app.store.read() as connection:
        return job_store.known(connection, submission)
