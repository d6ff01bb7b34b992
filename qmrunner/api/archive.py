"""All published files of a job as one zip, made while it is sent: no copy on disk, and memory for one piece."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Sequence

from qmrunner.api.files import published_file, published_files
from qmrunner.app import App
from qmrunner.errors import NotFoundError

# Engines' outputs are text; level 1 takes a tenth of the time of level 6 for a little more size.
_LEVEL = 1


class _Sink(io.RawIOBase):
    """Collects what the zip writes until it is taken. It cannot seek: sizes follow each file in the archive."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def names(app: App, job_id: str) -> list[str]:
    """The files of the archive: without names that programs of Windows take for paths. Raises NotFoundError
    `job_unknown`."""
    return [name for name, _ in published_files(app, job_id) if "\\" not in name]


def chunks(app: App, job_id: str, chosen: Sequence[str]) -> Iterator[bytes]:
    """The archive, piece by piece, in a folder named after the job. A file that has gone meanwhile is left out."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in chosen:
            try:
                opened = published_file(app, job_id, name)
            except NotFoundError:
                continue
            entry = zipfile.ZipInfo(f"{job_id}/{name}", time.gmtime()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with opened.file, archive.open(entry, "w", force_zip64=opened.size >= 1 << 30) as target:
                for piece in opened.chunks():
                    target.write(piece)
                    yield sink.take()
            yield sink.take()
    yield sink.take()
