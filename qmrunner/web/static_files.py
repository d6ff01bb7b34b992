"""The files that pages load: read once, served from memory under one hash of them all, for ever cacheable.

One hash for all, because the modules import each other by relative names.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import threading
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_WORTH = 1000  # bytes below which compression gains nothing


@dataclass(slots=True)
class File:
    """A file's bytes, its type, and its compressed bytes after the first request for them."""

    data: bytes
    media_type: str
    _packed: bytes | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def packed(self) -> bytes | None:
        """The gzip of the data; None for a file so small that it gains nothing."""
        if len(self.data) < _WORTH:
            return None
        with self._lock:
            if self._packed is None:
                self._packed = gzip.compress(self.data, 9, mtime=0)
            return self._packed


class Files:
    """All files below a folder by their name, and one hash of them all."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.by_name: dict[str, File] = {}
        whole = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                name, data = path.relative_to(folder).as_posix(), path.read_bytes()
                kind = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
                self.by_name[name] = File(data, kind)
                whole.update(f"{name}\0{len(data)}\0".encode() + data)
        self.hash = whole.hexdigest()[:16]

    def url(self, name: str) -> str:
        """The address of a file of the set. Raises KeyError for another."""
        if name not in self.by_name:
            raise KeyError(name)
        return f"/static/{self.hash}/{name}"

    def has(self, name: str) -> bool:
        """Whether the file is there: those of other projects may be missing in a checkout."""
        return name in self.by_name
