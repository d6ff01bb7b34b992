"""Submit a job: the one function behind the command line and the HTTP API."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from qmrunner.app import App
from qmrunner.engines import INSTALL
from qmrunner.errors import NotReadyError
from qmrunner.model.jobs import Submission
from qmrunner.store import artifacts as artifact_store
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import accept
from qmrunner.store.session import Store, StoreUnavailable
from qmrunner.submission.inputs import write_inputs

if TYPE_CHECKING:
    from qmrunner.artifacts.blobs import Stored


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
    return submit_all(app, [submission])[0]


def submit_all(app: App, submissions: Sequence[Submission]) -> list[Accepted]:
    """Store checked jobs like `submit`, in one transaction: all that are new, or none of them. Two with the same key
    are the same request.

    The files of all of them are flushed together before, which takes a fraction of the time.
    """
    require_engines(app, submissions)
    _ = app.artifacts  # raises before anything is created
    store = app.open_store(create=True)
    first: dict[str | int, int] = {}
    for place, submission in enumerate(submissions):
        first.setdefault(submission.key or place, place)
    while True:
        known = _known(app, submissions)
        new = {place: job_store.new_id() for place in first.values() if submissions[place].key not in known}
        try:
            if new:
                _store(app, store, {job_id: submissions[place] for place, job_id in new.items()})
                app.queue.notify()
            break
        except IntegrityError:
            if _known(app, submissions) == known:
                raise
            # Another process stored a request with one of these keys at the same moment.
    ids = {submissions[place].key: job_id for place, job_id in new.items()}
    return [
        Accepted(new[place], True)
        if place in new
        else Accepted(known.get(submission.key or "") or ids[submission.key], False)
        for place, submission in enumerate(submissions)
    ]


def _store(app: App, store: Store, jobs: Mapping[str, Submission]) -> None:
    """Write the files and rows of new jobs, by id. When it raises, nothing is left of them."""
    folders = {job_id: app.settings.jobs_root / job_id for job_id in jobs}
    app.verify_artifacts()
    try:
        write_inputs({folders[job_id] / "input": submission.files for job_id, submission in jobs.items()})
        sent = {job_id: _send(app, folders[job_id], submission) for job_id, submission in jobs.items()}
        with store.write() as connection:
            for job_id, submission in jobs.items():
                accept(connection, store.now(), job_id, submission, app.planner, **_place(app, folders[job_id]))
                rows = artifact_store.rows_of(job_id, artifact_store.JOB, "", 0, sent[job_id])
                artifact_store.add(connection, store.now(), rows)
    except BaseException as problem:
        stored = _stored(app, jobs) if isinstance(problem, StoreUnavailable) else False
        if stored:
            return  # committed; only the reply of the store was lost
        if stored is False:
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)
        if isinstance(problem, OSError):
            raise NotReadyError(
                "home_unwritable",
                f"the input of the job could not be stored in {app.settings.jobs_root}",
                evidence=str(problem),
                remedy="free space there or make the folder writable, then submit again; nothing was stored",
            ) from problem
        raise


def _place(app: App, folder: Path) -> dict[str, str]:
    """Where the files of a job are, unless they are in an artifact store or on the only machine."""
    if app.artifacts is not None or app.store.is_sqlite:
        return {}
    return {"host": socket.gethostname(), "folder": str(folder)}


def _send(app: App, folder: Path, submission: Submission) -> Mapping[str, Stored]:
    files = {f"input/{name}": folder / "input" / name for name in submission.files}
    return app.artifacts.put(files) if app.artifacts else {}


def require_engines(app: App, submissions: Sequence[Submission]) -> None:
    """Refuse jobs that this machine cannot finish, with NotReadyError `engine_missing`. With a shared store other
    machines may have the engine, so nothing is refused."""
    from qmrunner.workflows import engines_needed

    if not app.store.is_sqlite:
        return
    for engine in {engine for job in submissions for engine in engines_needed(job.kind, job.params)}:
        if not app.located(engine):
            raise missing_engine(engine)


def _stored(app: App, job_ids: Collection[str]) -> bool | None:
    """Whether a commit whose reply was lost has succeeded. None: the store does not answer, and the files are kept."""
    try:
        with app.store.read() as connection:
            return bool(job_store.get_all(connection, job_ids))
    except StoreUnavailable:
        return None


def _known(app: App, submissions: Sequence[Submission]) -> dict[str, str]:
    """The ids of the jobs that were submitted with these keys, by key. Raises UsageError `key_in_use`."""
    if not any(submission.key for submission in submissions):
        return {}
    with app.store.read() as connection:
        return job_store.known(connection, submissions)
