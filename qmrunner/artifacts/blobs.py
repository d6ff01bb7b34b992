"""The protocol of artifact storage: each content is stored under the SHA-256 of its bytes, completely or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from qmrunner import untrusted
from qmrunner.errors import NotReadyError

OBJECTS = "objects"
IDENTITY = "qmrunner-artifacts.id"  # the id of the job store whose contents these are
READ_AT_ONCE = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArtifactsUnavailable(NotReadyError):
    """The artifact store does not respond now, or refuses access. Retry later."""

    def __init__(self, where: str, problem: object) -> None:
        super().__init__(
            "artifacts_unavailable",
            f"the artifact store {where} does not answer",
            evidence=str(problem) or repr(problem),
            remedy="check that it exists and is writable, and that QMRUNNER_ARTIFACTS is right",
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A content: the SHA-256 (hex) and the number of its bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored content. `modified_at` is Unix seconds, by the clock of the storage server."""

    sha256: str
    bytes: int
    modified_at: float


class Blobs(Protocol):
    """Every method raises ArtifactsUnavailable if the storage does not respond, and OSError only for local files."""

    where: str  # for messages

    def put(self, source: Path, sha256: str) -> None:
        """Store the content of `source`. An existing one is overwritten, which repairs damage and renews its time.

        Raises OSError when `source` cannot be read.
        """
        ...

    def read(self, sha256: str) -> Iterator[bytes]:
        """The content in pieces, not verified. Raises FileNotFoundError if it does not exist."""
        ...

    def stat(self, sha256: str) -> Blob | None:
        """The stored content with this hash; None if there is none."""
        ...

    def remove(self, sha256: str) -> None:
        """Delete a content. A missing one is not an error."""
        ...

    def every(self) -> Iterator[Blob]:
        """All contents, in any order."""
        ...

    def leftovers(self) -> Iterator[tuple[str, float]]:
        """Leftovers of interrupted uploads: names, with the time of the last change, Unix seconds."""
        ...

    def remove_leftover(self, name: str) -> None: ...

    def identity(self) -> str | None:
        """The value that `set_identity` stored."""
        ...

    def set_identity(self, identity: str) -> None: ...

    def close(self) -> None:
        """Close the connections."""
        ...


def connect(url: str) -> Blobs:
    """The place a `file:///…` or `s3://bucket/prefix` URL names. Nothing is accessed yet.

    Raises UsageError `artifacts_driver_missing` where the optional part for S3 is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from qmrunner.artifacts.folder import FolderBlobs

        return FolderBlobs(Path(unquote(parts.path)))
    from qmrunner.artifacts.s3 import S3Blobs

    return S3Blobs(parts.netloc, parts.path.strip("/"))


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def digest(path: Path) -> Stored:
    """SHA-256 and size of a local file. Raises OSError."""
    hasher, size = hashlib.sha256(), 0
    with untrusted.open_file(path) as file:
        while block := file.read(READ_AT_ONCE):
            hasher.update(block)
            size += len(block)
    return Stored(hasher.hexdigest(), size)
