"""Files of jobs between this machine and the artifact store: uploaded before the commit that names them, verified
after download, and never used if they differ from the store's record.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from qmrunner import logs, untrusted
from qmrunner.artifacts.blobs import IDENTITY, ArtifactsUnavailable, Blobs, Stored, digest
from qmrunner.errors import NotReadyError
from qmrunner.store import artifacts as rows
from qmrunner.store.artifacts import File
from qmrunner.store.session import Store

MANIFEST = ".manifest.json"  # in a step's published folder: SHA-256 of all files; those promoted to the job's folder
_ASK_AGAIN_S = 5.0
_READS = 2  # a transfer error is repaired by the second read


class Artifacts:
    """The artifact store of a job store, for all threads. Raises ArtifactsUnavailable if it does not respond."""

    def __init__(self, blobs: Blobs, store: Store) -> None:
        self.blobs = blobs
        self._store = store
        self._lock = threading.Lock()
        self._lost_since: float | None = None
        self._asked_at = 0.0

    @property
    def where(self) -> str:
        """Where the files are, for messages."""
        return self.blobs.where

    # -- is it there? -----------------------------------------------------------------------------------------------

    def verify_pairing(self) -> bool:
        """Verify that this artifact store belongs to this job store. Returns whether this use, the first, paired them.

        Raises NotReadyError `artifacts_foreign` or `artifacts_missing`: another store's sweep would remove our files,
        and in an empty mount point all of them would seem gone.
        """
        with self._noted():
            found = self.blobs.identity()
            with self._store.read() as connection:
                known = rows.identity(connection)
            first = known is None
            if first:
                known, found = self._settle(found)
        if found == known:
            return first
        if found is None:
            raise NotReadyError(
                "artifacts_missing",
                f"{self.blobs.where} does not hold the files of this store",
                evidence=f"there is no {IDENTITY}",
                remedy="mount the folder, or correct QMRUNNER_ARTIFACTS: all machines of a store use the same",
            )
        raise NotReadyError(
            "artifacts_foreign",
            f"{self.blobs.where} holds the files of another store",
            evidence=f"{IDENTITY} contains {found}, this store expects {known or 'a new place'}",
            remedy="set QMRUNNER_ARTIFACTS to an empty place of this store's own, the same on all its machines",
        )

    def is_ours(self) -> bool:
        """Whether this artifact store is paired with the job store; changes nothing."""
        with self._noted():
            found = self.blobs.identity()
        with self._store.read() as connection:
            return found is not None and found == rows.identity(connection)

    def is_new(self) -> bool:
        """Whether neither side is paired yet."""
        with self._store.read() as connection:
            known = rows.identity(connection)
        with self._noted():
            return known is None and self.blobs.identity() is None

    def try_out(self) -> None:
        """Write a small content, read it back, delete it. Raises ArtifactsUnavailable if one of these fails."""
        with tempfile.TemporaryDirectory(prefix="qmrunner-") as folder, self._noted():
            path = Path(folder, "trial")
            path.write_text(f"a trial of qmrunner {uuid.uuid4().hex}\n")
            content = digest(path)
            self.blobs.put(path, content.sha256)
            try:
                same = b"".join(self.blobs.read(content.sha256)) == path.read_bytes()
            except FileNotFoundError:
                same = False
            self.blobs.remove(content.sha256)
            if not same:
                raise ArtifactsUnavailable(self.where, "what was written did not come back")

    def _settle(self, found: str | None) -> tuple[str | None, str | None]:
        """(Expected id, id in the artifact store) after pairing, by this or by another machine."""
        if found is not None:
            return None, found
        fresh = uuid.uuid4().hex
        try:
            with self._store.write() as connection:
                rows.set_identity(connection, fresh)
                self.blobs.set_identity(fresh)
            return fresh, fresh
        except IntegrityError:  # another machine paired them at the same moment
            with self._store.read() as connection:
                return rows.identity(connection), self.blobs.identity()

    def answers(self) -> bool:
        """Whether the last access succeeded. After a failure it is tried again from time to time."""
        if self._lost_since is None:
            return True
        if time.monotonic() - self._asked_at < _ASK_AGAIN_S:
            return False
        try:
            self.verify_pairing()
        except NotReadyError:
            return False
        return True

    def lost_s(self) -> float | None:
        """Seconds since it stopped responding; None if the last access succeeded."""
        since = self._lost_since
        return None if since is None else round(time.monotonic() - since, 1)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Log once that it does not respond, and once that it responds again."""
        try:
            yield
        except ArtifactsUnavailable as problem:
            with self._lock:
                first, self._asked_at = self._lost_since is None, time.monotonic()
                if first:
                    self._lost_since = self._asked_at
            if first:
                _tell("error", "artifacts_lost", **problem.as_dict())
            raise
        with self._lock:
            since, self._lost_since = self._lost_since, None
        if since is not None:
            _tell("info", "artifacts_back", outage_s=round(time.monotonic() - since, 1))

    # -- to it ------------------------------------------------------------------------------------------------------

    def put(self, files: Mapping[str, Path], there: Collection[str] = ()) -> dict[str, Stored]:
        """Upload the files; returns path → content. `there`: SHA-256 of contents that are certainly stored and in use.

        Raises OSError when a file cannot be read.
        """
        sent: dict[str, Stored] = {}
        done = set(there)
        for name, path in files.items():
            content = digest(path)
            if content.sha256 not in done:
                with self._noted():
                    self.blobs.put(path, content.sha256)
                done.add(content.sha256)
            sent[name] = content
        return sent

    # -- from it ----------------------------------------------------------------------------------------------------

    def files(
        self, job_id: str, place: str, *, paths: Collection[str] | None = None, step: str | None = None
    ) -> list[File]:
        """The files that the job store has recorded."""
        with self._store.read() as connection:
            return rows.of_job(connection, job_id, place, paths=paths, step=step)

    def bring(self, files: Collection[File], folder: Path) -> list[File]:
        """Download each file into `folder`, under its path, with the recorded content. Returns those that failed:
        missing or damaged ones, of which nothing is left in `folder`.

        Raises OSError when it cannot be written here.
        """
        lacking = []
        for file in files:
            target = folder / file.path
            if _holds(target, file):
                continue
            if self._fetch(file, target):
                continue
            # A different content under this name belongs to an attempt that was never committed.
            target.unlink(missing_ok=True)
            lacking.append(file)
        return lacking

    def _fetch(self, file: File, target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            with self._noted():
                there = self._read(file.sha256, temporary)
                if not there and self.blobs.identity() is None:
                    raise ArtifactsUnavailable(self.blobs.where, f"there is no {IDENTITY}")
            if there:
                os.replace(temporary, target)
                return True
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        return False

    def _read(self, sha256: str, target: Path) -> bool:
        """Download a content to `target`; False if it is missing or does not match its hash."""
        found = None
        for _ in range(_READS):
            try:
                with untrusted.create(target) as file:
                    for block in self.blobs.read(sha256):
                        file.write(block)
            except FileNotFoundError:
                _tell("error", "artifact_missing", code="artifact_missing", sha256=sha256, where=self.where)
                return False
            found = digest(target)
            if found.sha256 == sha256:
                return True
        _tell(
            "error",
            "artifact_damaged",
            code="artifact_damaged",
            sha256=sha256,
            where=self.blobs.where,
            found=found.sha256 if found else None,
            bytes=found.bytes if found else None,
        )
        return False


def _tell(level: str, event: str, **fields: Any) -> None:
    if logs.configured():
        getattr(logs.get(), level)(event, **fields)


def _holds(path: Path, file: File) -> bool:
    """Whether a file of this machine has that content."""
    try:
        if untrusted.size(path) != file.bytes:
            return False
        return digest(path).sha256 == file.sha256
    except OSError:
        return False
