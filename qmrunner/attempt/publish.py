"""Publishes an attempt's files: stages copies in the job's folder, makes them durable, renames them in the commit.

With an artifact store the files are sent before the commit, and the commit records them as the step's files.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from qmrunner import untrusted
from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.reuse import RESULT, write_manifest
from qmrunner.host.atomic_write import write_atomically
from qmrunner.host.durable import flush
from qmrunner.model.jobs import Job, Outcome, Step
from qmrunner.store import artifacts as artifact_store
from qmrunner.store import unsent_jobs

if TYPE_CHECKING:
    from qmrunner.artifacts.blobs import Stored
    from qmrunner.artifacts.files import Artifacts

OUTPUT = "output.log"
# Files are sent again when their commit waited that long: a sweep removes old contents that no row refers to.
_FRESH_S = 6 * 3600.0


def staging(job_folder: Path, step: str, number: int) -> Path:
    """Where an attempt's files are staged until they are published."""
    return job_folder / f".{step}.{number}.new"


class Publication:
    """The files of one attempt, staged next to their target. `commit` renames them; `discard` removes them."""

    def __init__(
        self, job_folder: Path, attempt: ActiveAttempt, outcome: Outcome, artifacts: Artifacts | None = None
    ) -> None:
        self._job = job_folder
        self._step = attempt.step.name
        self._attempt = attempt
        self._outcome = outcome
        self._staged = staging(job_folder, attempt.step.name, attempt.number)
        self._complete = False
        self._artifacts = artifacts
        self._sent: dict[str, Stored] = {}
        self._sent_at: float | None = None

    def stage(self) -> None:
        """Copy the files to publish, the step's result and its raw output, and make them durable.

        Runs outside any transaction, before each commit. Raises OSError or ArtifactsUnavailable; then nothing was
        published.
        """
        if not self._complete:
            self._copy()
        if self._artifacts is not None:
            self._send(self._artifacts)

    def _copy(self) -> None:
        self.discard()
        self._staged.mkdir(parents=True)
        for name in self._outcome.publish:
            if not _is_plain_name(name):
                continue
            target = self._staged / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                untrusted.copy(self._attempt.directory.work / name, target, below=self._attempt.directory.work)
            except (FileNotFoundError, untrusted.Refused):
                continue  # an engine chooses the names; a link could point anywhere
        (self._staged / RESULT).write_text(json.dumps(dict(self._outcome.result), indent=1) + "\n")
        if OUTPUT not in self._outcome.publish and untrusted.is_file(self._attempt.log):
            _link_or_copy(self._attempt.log, self._staged / OUTPUT)
        write_manifest(self._staged, self._outcome.promote)
        flush([Path(root) / name for root, _, files in os.walk(self._staged) for name in (*files, "")])
        self._complete = True

    def _send(self, artifacts: Artifacts) -> None:
        if self._sent_at is not None and time.monotonic() - self._sent_at < _FRESH_S:
            return
        paths = {str(path.relative_to(self._staged)): path for path in self._staged.rglob("*") if path.is_file()}
        sent = artifacts.put({f"{self._step}/{name}": path for name, path in paths.items()})
        promoted = {name: sent[f"{self._step}/{name}"] for name in self._outcome.promote if name in paths}
        self._sent, self._sent_at = {**sent, **promoted}, time.monotonic()

    def record(self, connection: Connection, now: float) -> None:
        """Record the sent files as the step's; called after the fence check, inside the committing transaction.

        If the store got an artifact store during the run of this worker, which has none, record where the files are.
        """
        job = self._attempt.job.id
        if self._artifacts is None:
            if artifact_store.identity(connection) is not None:
                unsent_jobs.keep_result(connection, now, job, self._step, socket.gethostname(), str(self._job))
            return
        artifact_store.forget(connection, job, artifact_store.JOB, self._step)
        rows = artifact_store.rows_of(job, artifact_store.JOB, self._step, self._attempt.number, self._sent)
        artifact_store.add(connection, now, rows)

    def commit(self) -> None:
        """Rename the files into place; called after the fence check, inside the committing transaction."""
        self._complete = False  # if the store fails now, the next try must stage again
        target = self._job / self._step
        if target.exists():
            # Left by an attempt whose commit did not happen: this attempt's files replace it.
            old = self._job / f".{self._step}.old"
            shutil.rmtree(old, ignore_errors=True)
            os.rename(target, old)
            os.rename(self._staged, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(self._staged, target)
        for name in self._outcome.promote:
            if not (target / name).is_file():
                continue
            temporary = self._job / f".{name}.new"
            _link_or_copy(target / name, temporary)
            os.replace(temporary, self._job / name)

    def discard(self) -> None:
        if self._staged.is_dir():
            shutil.rmtree(self._staged)


def write_job_result(jobs_root: Path, job: Job, steps: Sequence[Step]) -> None:
    """Write the job's result.json atomically; called inside the commit that ends the job."""
    from qmrunner import workflows

    result = workflows.workflow(job.kind).result(job, steps)
    job_folder = jobs_root / job.id
    job_folder.mkdir(parents=True, exist_ok=True)
    write_atomically(job_folder / RESULT, json.dumps(dict(result), indent=1, default=str) + "\n", durable=True)


def _is_plain_name(name: str) -> bool:
    """Whether a name stays inside its folder, and can be shown, stored and sent unchanged."""
    return name.isprintable() and not name.startswith("/") and "\\" not in name and ".." not in name.split("/")


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        untrusted.copy(source, target)
