"""The reports of short commands by name. The command makes them itself, or the worker makes them for it."""

from __future__ import annotations

from typing import Any

from qmrunner.app import App
from qmrunner.reports import status
from qmrunner.store import huey_jobs

NAMES = ("overview", "job", "why", "logs")


def make(app: App, name: str, job: str | None = None, step: str | None = None) -> Any:
    """The report `name`, a JSON value; all but ``overview`` are about a job, by its id or that of its Huey task.

    Raises NotFoundError, and StoreUnavailable except for the overview.
    """
    if job is None:
        return status.overview(app)
    with app.store.read() as connection:
        job_id = huey_jobs.job_named(connection, job)
    if name == "job":
        return status.job_view(app, job_id)
    if name == "logs":
        from qmrunner.reports import log_files

        return [str(path) for path in log_files.log_files(app, job_id, step)]
    from qmrunner.reports import why

    return why.view(app, job_id)
