"""Jobs that were submitted, or whose steps began, before their store had an artifact store: their files are sent, or
the jobs are held.

Otherwise a worker with an artifact store would find no input and fail the job.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from qmrunner.artifacts.files import MANIFEST, Artifacts
from qmrunner.store import locks, unsent_jobs
from qmrunner.store.artifacts import JOB, rows_of
from qmrunner.store.session import Store


def send(artifacts: Artifacts, store: Store, jobs_root: Path, *, first: bool = False) -> None:
    """Send the files of all such jobs, or hold the jobs: `send_job`. Raises QmrunnerError.

    `first`: the artifact store was set a moment ago. A worker may commit a step that does not know it.
    """
    if first:
        _await_commits(store)
    with store.read() as connection:
        waiting = unsent_jobs.inputs(connection).keys() | unsent_jobs.results(connection).keys()
    for job_id in sorted(waiting):
        send_job(artifacts, store, jobs_root, job_id)


def send_job(artifacts: Artifacts, store: Store, jobs_root: Path, job_id: str) -> None:
    """Send the files of a job from this machine's folder of jobs, or from one that its submitter or a worker recorded,
    if that exists here, and resume the job if it was held for them; otherwise hold it, with the place of its files.
    Raises QmrunnerError."""
    with store.read() as connection:
        needed = unsent_jobs.inputs(connection, job_id).get(job_id)
        places = unsent_jobs.places(connection, job_id)
    folders = _folders(jobs_root, job_id, places)
    if needed and not any(_send(artifacts, store, job_id, folder, needed) for folder in folders):
        host, recorded = places[0] if places else (None, None)
        where = f"in {recorded} of {host}" if recorded else "on the machine that submitted it"
        summary = (
            f"its input files are {where}, and not in the artifact store, which was set later: copy that folder to "
            f"{jobs_root / job_id} and restart a worker here, or cancel the job and submit it again"
        )
        _hold(store, job_id, summary)
        return
    with store.read() as connection:
        steps = unsent_jobs.results(connection, job_id).get(job_id, set())
    for folder in folders:
        steps -= {step for step in steps if _send_step(artifacts, store, job_id, folder, step)}
    if steps:
        host, recorded = places[-1] if places else ("another machine", "its folder of jobs")
        summary = (
            f"the files of {', '.join(sorted(steps))} are in {recorded} of {host}, and not in the artifact store: "
            f"set QMRUNNER_ARTIFACTS for the worker there and restart it, or copy that folder to "
            f"{jobs_root / job_id} and restart a worker here"
        )
        _hold(store, job_id, summary)
    _release(store, job_id)


def _await_commits(store: Store) -> None:
    """Wait until no commit is under way that began before the artifact store was recorded: each locks its job."""
    with store.read() as connection:
        running = unsent_jobs.running(connection)
    for job_id in running:
        with store.write() as connection:
            locks.hold_job(connection, job_id)


def _folders(jobs_root: Path, job_id: str, places: list[tuple[str, str]]) -> list[Path]:
    recorded = [Path(folder) for _, folder in places if Path(folder).name == job_id]
    return list(dict.fromkeys([jobs_root / job_id, *recorded]))


def _hold(store: Store, job_id: str, summary: str) -> None:
    with store.write() as connection:
        unsent_jobs.hold(connection, store.now(), job_id, summary)


def _release(store: Store, job_id: str) -> None:
    """Resume a held job if everything it needs was sent."""
    with store.write() as connection:
        locks.hold_job(connection, job_id)
        if not unsent_jobs.inputs(connection, job_id) and not unsent_jobs.results(connection, job_id):
            unsent_jobs.release(connection, store.now(), job_id)


def _send(artifacts: Artifacts, store: Store, job_id: str, folder: Path, needed: set[str]) -> bool:
    """Send the files of a job from its folder. False when an input is not there or cannot be read."""
    try:
        files = dict(_files(folder, folder))
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


def _send_step(artifacts: Artifacts, store: Store, job_id: str, folder: Path, step: str) -> bool:
    """Send the published files of a step from the job's folder. False when they are not there or cannot be read."""
    try:
        files = dict(_files(folder / step, folder))
        promoted = json.loads(files[f"{step}/{MANIFEST}"].read_text())["promote"]
        sent = artifacts.put(files)
    except (OSError, KeyError, ValueError):
        return False
    sent |= {name: sent[f"{step}/{name}"] for name in promoted if f"{step}/{name}" in sent}
    with store.write() as connection:
        number = unsent_jobs.attempts(connection, job_id)[step]
        rows = rows_of(job_id, JOB, step, number, sent)
        unsent_jobs.record_step(connection, store.now(), job_id, step, rows)
    return True


def _files(folder: Path, below: Path) -> Iterator[tuple[str, Path]]:
    """The regular files in a folder, by their path below another; follows no links. Raises OSError."""
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            path = Path(parent) / name
            if stat.S_ISREG(path.lstat().st_mode):
                yield str(path.relative_to(below)), path


def _raise(problem: OSError) -> None:
    raise problem
