"""Published files of a job: listed and opened without following a link or leaving the job's folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qmrunner.api.upload.names import published_name
from qmrunner.app import App
from qmrunner.errors import NotFoundError
from qmrunner.reports import files
from qmrunner.store import jobs as job_store

_CHUNK = 1 << 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Regular files ignore O_NONBLOCK; a pipe in place of a file must not hang the open.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Opened:
    """A file open for reading: the bytes read are those of the file that was checked. The caller closes it."""

    file: BinaryIO
    size: int

    def chunks(self) -> Iterator[bytes]:
        """All bytes, up to the size that the file had when it was opened."""
        left = self.size
        while left and (data := self.file.read(min(_CHUNK, left))):
            left -= len(data)
            yield data


def published_files(app: App, job_id: str) -> list[tuple[str, int]]:
    """Name and size of every regular file in the job's folder, except hidden ones. Raises NotFoundError."""
    with app.store.read() as connection:
        job = job_store.get(connection, job_id)
    if app.artifacts is not None:
        return files.listed(app, job.id)
    folder = app.settings.jobs_root / job.id
    found = []
    for root, folders, names in os.walk(folder):  # links to folders are not followed
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            try:
                seen = path.lstat()
            except FileNotFoundError:
                continue  # the commit of a step has renamed it meanwhile
            if stat.S_ISREG(seen.st_mode) and not name.startswith("."):
                found.append((str(path.relative_to(folder)), seen.st_size))
    return sorted(found)


def published_file(app: App, job_id: str, name: str) -> Opened:
    """Open one file of the list, without making the list: an archive opens all of them.

    Opens every part of its path below the job's folder without following a link. The only way from a request to a
    file's content. A file that only the artifact store has is downloaded and verified first. Raises UsageError
    `bad_path`, NotFoundError `job_unknown`, `file_unknown`.
    """
    wanted = published_name(name)
    with app.store.read() as connection:
        job_store.get(connection, job_id)  # so that an invalid id never reaches the filesystem
    if any(part.startswith(".") for part in wanted.split("/")):
        raise _unknown(job_id, wanted)
    if app.artifacts is not None:
        files.published_file(app, job_id, wanted)
    try:
        return open_below(app.settings.jobs_root, (job_id, *wanted.split("/")))
    except OSError:
        raise _unknown(job_id, wanted) from None  # replaced by a link, or gone, since it was listed


def open_below(root: Path, parts: Sequence[str]) -> Opened:
    """A regular file below `root`, each part opened from the one before. Raises OSError for a link or another thing."""
    *folders, last = parts
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = inner
        descriptor = os.open(last, _FILE, dir_fd=at)
    finally:
        os.close(at)
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", last)
    return Opened(os.fdopen(descriptor, "rb"), seen.st_size)


def _unknown(job_id: str, name: str) -> NotFoundError:
    return NotFoundError(
        "file_unknown", f"job {job_id} has published no file {name[:100]!r}", remedy="`files` of the job lists them"
    )
