"""Jobs that were submitted before their store had an artifact store: their files are sent, or the jobs are held.

Otherwise a worker with an artifact store would find no input and fail the job.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from qmrunner.artifacts.files import Artifacts
from qmrunner.store import unsent_jobs
from qmrunner.store.artifacts import JOB, rows_of
from qmrunner.store.session import Store


def send(artifacts: Artifacts, store: Store, jobs_root: Path) -> None:
    """Send the files of such jobs from this machine's folder of jobs, or from the one that their submitter recorded, if
    that exists here; hold the other jobs, with the place of their files. Raises QmrunnerError."""
    with store.read() as connection:
        waiting = unsent_jobs.inputs(connection)
        places = {job_id: unsent_jobs.place(connection, job_id) for job_id in waiting}
    for job_id, needed in waiting.items():
        host, recorded = places[job_id] or (None, None)
        folders = [jobs_root / job_id]
        if recorded is not None and Path(recorded).name == job_id:
            folders.append(Path(recorded))
        if any(_send(artifacts, store, job_id, folder, needed) for folder in folders):
            continue
        where = f"in {recorded} of {host}" if recorded else "on the machine that submitted it"
        summary = (
            f"its input files are {where}, and not in the artifact store, which was set later: copy that folder to "
            f"{jobs_root / job_id} and release the job, or cancel it and submit it again"
        )
        with store.write() as connection:
            unsent_jobs.hold(connection, store.now(), job_id, summary)


def _send(artifacts: Artifacts, store: Store, job_id: str, folder: Path, needed: set[str]) -> bool:
    """Send the files of a job from its folder. False when an input is not there or cannot be read."""
    try:
        files = dict(_files(folder))
        if not needed <= files.keys():
            return False
        sent = artifacts.put(files)
    except OSError:
        return False
    with store.write() as connection:
        numbers = unsent_jobs.attempts(connection, job_id)
        rows = []
        for path, content in sent.items():
            step = path.partition("/")[0]
            known = step if step in numbers else ""
            rows += rows_of(job_id, JOB, known, numbers.get(known, 0), {path: content})
        unsent_jobs.record(connection, store.now(), job_id, rows)
    return True


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The regular files below a folder, by their path in it; follows no links. Raises OSError."""
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            path = Path(parent) / name
            if stat.S_ISREG(path.lstat().st_mode):
                yield str(path.relative_to(folder)), path


def _raise(problem: OSError) -> None:
    raise problem
