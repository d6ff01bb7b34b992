"""Contents in a folder that all machines mount. Standard library only."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from qmrunner import untrusted
from qmrunner.artifacts.blobs import IDENTITY, OBJECTS, READ_AT_ONCE, ArtifactsUnavailable, Blob, is_sha256

_INCOMING = "incoming"


class FolderBlobs:
    """See `blobs.Blobs`. Files are written under another name, made durable, and renamed."""

    def __init__(self, root: Path) -> None:
        self.where = f"file://{root}"
        self._root = root

    def put(self, source: Path, sha256: str) -> None:
        with untrusted.open_file(source) as content, self._translated():
            self._require_identity()
            target = self._place(sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._write(target, content)

    def read(self, sha256: str) -> Iterator[bytes]:
        if self.stat(sha256) is None:
            raise FileNotFoundError(sha256)
        with self._translated(), open(self._place(sha256), "rb") as file:
            while block := file.read(READ_AT_ONCE):
                yield block

    def stat(self, sha256: str) -> Blob | None:
        with self._translated():
            self._require_identity()
            try:
                found = os.lstat(self._place(sha256))
            except FileNotFoundError:
                return None
            return Blob(sha256, found.st_size, found.st_mtime)

    def remove(self, sha256: str) -> None:
        with self._translated():
            self._place(sha256).unlink(missing_ok=True)

    def every(self) -> Iterator[Blob]:
        with self._translated():
            self._require_identity()
            for folder in _names(self._root / OBJECTS):
                for name in _names(self._root / OBJECTS / folder):
                    if not is_sha256(folder + name):
                        continue
                    with suppress(FileNotFoundError):  # removed meanwhile
                        found = os.lstat(self._root / OBJECTS / folder / name)
                        yield Blob(folder + name, found.st_size, found.st_mtime)

    def leftovers(self) -> Iterator[tuple[str, float]]:
        with self._translated():
            for name in _names(self._root / _INCOMING):
                with suppress(FileNotFoundError):  # renamed meanwhile
                    yield name, os.lstat(self._root / _INCOMING / name).st_mtime

    def remove_leftover(self, name: str) -> None:
        with self._translated():
            (self._root / _INCOMING / name).unlink(missing_ok=True)

    def identity(self) -> str | None:
        with self._translated():
            os.stat(self._root)  # a missing folder is not a new artifact store: the volume may not be mounted
            try:
                return (self._root / IDENTITY).read_text().strip()
            except FileNotFoundError:
                return None

    def set_identity(self, identity: str) -> None:
        with self._translated():
            for name in (OBJECTS, _INCOMING):
                (self._root / name).mkdir(exist_ok=True)
            temporary = self._root / _INCOMING / uuid.uuid4().hex
            temporary.write_text(f"{identity}\n")
            os.replace(temporary, self._root / IDENTITY)

    def close(self) -> None:
        """Nothing to close: no file stays open between calls."""

    # -- parts ------------------------------------------------------------------------------------------------------

    def _place(self, sha256: str) -> Path:
        return self._root / OBJECTS / sha256[:2] / sha256[2:]

    def _require_identity(self) -> None:
        """Fail on an empty mount point: its contents are not missing, the volume is not mounted."""
        os.stat(self._root / IDENTITY)

    def _write(self, target: Path, content: BinaryIO) -> None:
        temporary = self._root / _INCOMING / uuid.uuid4().hex
        try:
            with open(temporary, "xb") as file:
                shutil.copyfileobj(content, file, READ_AT_ONCE)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise ArtifactsUnavailable(self.where, problem) from problem


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
