"""Where contents are kept, whatever that is: each under the SHA-256 of its bytes, whole or not at all."""

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
IDENTITY = "qmrunner-artifacts.id"  # which store's contents these are
READ_AT_ONCE = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArtifactsUnavailable(NotReadyError):
    """The artifact store does not answer now, or refuses. Try again later."""

    def __init__(self, where: str, problem: object) -> None:
        super().__init__(
            "artifacts_unavailable",
            f"the artifact store {where} does not answer",
            evidence=str(problem) or repr(problem),
            remedy="check that it is there and writable, and that QMRUNNER_ARTIFACTS is right",
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A content: the SHA-256 (hex) and the number of its bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Blob:
    """A content that is there. `modified_at` is Unix seconds, by the clock of whoever keeps it."""

    sha256: str
    bytes: int
    modified_at: float


class Blobs(Protocol):
    """Raises ArtifactsUnavailable from every method when it does not answer; OSError only for local files."""

    where: str  # for people

    def put(self, source: Path, sha256: str) -> None:
        """Keep the content of `source`. Written anew where it is there: that mends a damaged one, and makes it young.

        Raises OSError when `source` cannot be read.
        """
        ...

    def read(self, sha256: str) -> Iterator[bytes]:
        """The content in pieces, not verified. Raises FileNotFoundError when it is not there."""
        ...

    def stat(self, sha256: str) -> Blob | None:
        """What is there under this name."""
        ...

    def remove(self, sha256: str) -> None:
        """Forget a content; that it is not there is no error."""
        ...

    def every(self) -> Iterator[Blob]:
        """All contents, in any order."""
        ...

    def leftovers(self) -> Iterator[tuple[str, float]]:
        """Names of what interrupted uploads left, each with the time of its last change, Unix seconds."""
        ...

    def remove_leftover(self, name: str) -> None: ...

    def identity(self) -> str | None:
        """What `set_identity` was told."""
        ...

    def set_identity(self, identity: str) -> None: ...

    def close(self) -> None:
        """Let go of its connections."""
        ...


def connect(url: str) -> Blobs:
    """The place a `file:///…` or `s3://bucket/prefix` URL names; nothing is asked there yet.

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
    """What a local file holds. Raises OSError."""
    found, size = hashlib.sha256(), 0
    with untrusted.open_file(path) as file:
        while block := file.read(READ_AT_ONCE):
            found.update(block)
            size += len(block)
    return Stored(found.hexdigest(), size)
