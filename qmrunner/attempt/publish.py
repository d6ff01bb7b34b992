"""From an attempt's private directory to the job's folder: copied aside, made durable, then renamed in the commit.

Where files reach other machines, they are sent before the commit, and become those of the step in it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from qmrunner import untrusted
from qmrunner.attempt.active import Live
from qmrunner.attempt.reuse import RESULT, write_manifest
from qmrunner.host.files import write_atomically
from qmrunner.model.jobs import Job, Outcome, Step
from qmrunner.store import artifacts as artifact_store

if TYPE_CHECKING:
    from qmrunner.artifacts.blobs import Stored
    from qmrunner.artifacts.files import Artifacts

OUTPUT = "output.log"
_FLUSHED_AT_ONCE = 4
# What was sent is sent again when its commit had to wait that long: a sweep takes old contents that nothing refers to.
_FRESH_S = 6 * 3600.0


def staging(job_folder: Path, step: str, number: int) -> Path:
    """Where an attempt's files wait to be published."""
    return job_folder / f".{step}.{number}.new"


class Publication:
    """The files of one attempt, staged beside their place. `commit` renames them in; `discard` forgets them."""

    def __init__(self, job_folder: Path, live: Live, outcome: Outcome, artifacts: Artifacts | None = None) -> None:
        self._job = job_folder
        self._step = live.step.name
        self._live = live
        self._outcome = outcome
        self._staged = staging(job_folder, live.step.name, live.number)
        self._complete = False
        self._artifacts = artifacts
        self._sent: dict[str, Stored] = {}
        self._sent_at: float | None = None

    def stage(self) -> None:
        """Copy what is to be published, with the step's result and its raw output, and make it durable.

        Outside any transaction, and once for each commit. Raises OSError or ArtifactsUnavailable, having published
        nothing.
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
                untrusted.copy(self._live.folder.work / name, target, below=self._live.folder.work)
            except (FileNotFoundError, untrusted.Refused):
                continue  # an engine decides what it publishes; a link could name anything
        (self._staged / RESULT).write_text(json.dumps(dict(self._outcome.result), indent=1) + "\n")
        if OUTPUT not in self._outcome.publish and untrusted.is_file(self._live.log):
            _link_or_copy(self._live.log, self._staged / OUTPUT)
        write_manifest(self._staged, self._outcome.promote)
        _make_durable(self._staged)
        self._complete = True

    def _send(self, artifacts: Artifacts) -> None:
        if self._sent_at is not None and time.monotonic() - self._sent_at < _FRESH_S:
            return
        found = {str(path.relative_to(self._staged)): path for path in self._staged.rglob("*") if path.is_file()}
        sent = artifacts.put({f"{self._step}/{name}": path for name, path in found.items()})
        promoted = {name: sent[f"{self._step}/{name}"] for name in self._outcome.promote if name in found}
        self._sent, self._sent_at = {**sent, **promoted}, time.monotonic()

    def record(self, connection: Connection, now: float) -> None:
        """What was sent becomes the step's; called behind the fence, inside the committing transaction."""
        if self._artifacts is None:
            return
        job = self._live.job.id
        artifact_store.forget(connection, job, artifact_store.JOB, self._step)
        rows = artifact_store.rows_of(job, artifact_store.JOB, self._step, self._live.number, self._sent)
        artifact_store.add(connection, now, rows)

    def commit(self) -> None:
        """Called behind the fence, inside the committing transaction."""
        self._complete = False  # should the store fail now, the next try finds nothing staged any more
        target = self._job / self._step
        if target.exists():
            # Left by an attempt whose commit did not happen: ours is the one that counts.
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
    """The job's result.json, whole or not at all; called inside the commit that ends the job."""
    from qmrunner import workflows

    result = workflows.workflow(job.kind).result(job, steps)
    job_folder = jobs_root / job.id
    job_folder.mkdir(parents=True, exist_ok=True)
    write_atomically(job_folder / RESULT, json.dumps(dict(result), indent=1, default=str) + "\n", durable=True)


def _is_plain_name(name: str) -> bool:
    """Whether a name leads into the folder it is taken in, and can be shown, stored and sent as it is."""
    return name.isprintable() and not name.startswith("/") and ".." not in name.split("/")


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        untrusted.copy(source, target)


def _make_durable(folder: Path) -> None:
    """Flush every file and folder to disk; all at once, so that the journal commits once for the lot and not for each.

    Measured for 8 small files on ext4: 4.5 ms instead of 30; more threads cost more CPU than they save.
    """
    found = [Path(root) / name for root, _, files in os.walk(folder) for name in (*files, "")]
    try:
        with ThreadPoolExecutor(min(_FLUSHED_AT_ONCE, len(found)), "flush") as pool:
            for _ in pool.map(_fsync, found):
                continue  # the first that failed raises here
    except RuntimeError:  # no more threads to be had: one after the other
        for path in found:
            _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
