"""Parses a body in a file into a form and files, within limits. Runs only in the child process that checks the
request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from qmrunner.api.errors import invalid
from qmrunner.api.upload import nesting
from qmrunner.api.upload.forms import FORM, Form
from qmrunner.api.upload.names import upload_name
from qmrunner.errors import UsageError

MOST_PARTS = 101  # the job and 100 files
_MOST_HEADERS = 8
_LONGEST_HEADER = 8192
_PIECE = 1 << 18
_JSON_PART = "job"


def read(content_type: str, body: Path, folder: Path) -> tuple[Form, list[Path]]:
    """The form, and the paths of all files below `folder`, which must be empty: parts first, then those of the form.

    The body is removed once it is read. Raises UsageError `unsupported_media_type`, `bad_request`, `invalid_request`,
    `bad_file_name`, `duplicate_file`.
    """
    kind, options = parse_options_header(content_type)
    taken: set[str] = set()
    if kind == b"application/json":
        text, paths = body.read_bytes(), []
    elif kind == b"multipart/form-data":
        parts = _Parts(folder, taken)
        try:
            with open(body, "rb") as file:
                parts.read(options.get(b"boundary", b""), file)
        except FormParserError as problem:
            raise _bad_parts(str(problem)) from None
        text, paths = parts.job(), parts.paths
    else:
        raise UsageError(
            "unsupported_media_type",
            f"the body is {kind.decode('latin-1')[:100] or 'of unknown type'}, but must be JSON or multipart",
            remedy="send application/json, or multipart/form-data with a part `job` (JSON) and parts `file`",
        )
    body.unlink()
    nesting.check(text)
    try:
        form = FORM.validate_json(text)
    except ValidationError as problem:
        raise invalid(problem.errors(include_url=False, include_input=False)) from None
    for inline in form.files:
        path = _new(folder, inline.name, taken)
        path.write_text(inline.text, encoding="utf-8", newline="")
        paths.append(path)
    return form, paths


def hashed(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Each file's name and SHA-256."""
    for path in files:
        with open(path, "rb") as file:
            yield path.name, hashlib.file_digest(file, "sha256").hexdigest()


def _new(folder: Path, given: str, taken: set[str]) -> Path:
    name = upload_name(given)
    if name in taken:
        raise UsageError(
            "duplicate_file", "two files have the same name", evidence=name,
            remedy="all files of a job share one folder: rename one of them",
        )  # fmt: skip
    taken.add(name)
    return folder / name


class _Parts:
    """Writes each part of a multipart body to a file while it is parsed."""

    def __init__(self, folder: Path, taken: set[str]) -> None:
        self.paths: list[Path] = []
        self._folder = folder
        self._taken = taken
        self._job: bytearray | None = None
        self._into: BinaryIO | None = None
        self._count = 0
        self._field = self._value = b""
        self._disposition = b""
        self._ended = False

    def read(self, boundary: bytes, file: BinaryIO) -> None:
        if not boundary:
            raise _bad_parts("it has no boundary")
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end",
                 "headers_finished", "end")  # fmt: skip
        parser = MultipartParser(
            boundary, {f"on_{name}": getattr(self, f"_{name}") for name in names},  # type: ignore[arg-type]
            max_header_count=_MOST_HEADERS, max_header_size=_LONGEST_HEADER,
        )  # fmt: skip
        try:
            for piece in _pieces(file):
                parser.write(piece)
            parser.finalize()
        finally:
            if self._into is not None:
                self._into.close()
        if not self._ended:
            raise _bad_parts("its last boundary is missing")

    def job(self) -> bytes:
        if self._job is None:
            raise _wrong_parts(None)
        return bytes(self._job)

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise _bad_parts(f"it has more than {MOST_PARTS} parts")
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = _utf8(options.get(b"name", b""))
        if name == _JSON_PART and self._job is None:
            self._job = bytearray()
        elif name == "file" and b"filename" in options:
            path = _new(self._folder, _utf8(options[b"filename"]), self._taken)
            self._into = open(path, "xb")  # noqa: SIM115  closed at the end of the part, or of the parsing
            self.paths.append(path)
        else:
            raise _wrong_parts(name)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._into is not None:
            self._into.write(data[start:end])
        elif self._job is not None:
            self._job += data[start:end]

    def _part_end(self) -> None:
        if self._into is not None:
            self._into.close()
            self._into = None

    def _end(self) -> None:
        self._ended = True


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _bad_parts(evidence: str) -> UsageError:
    return UsageError(
        "bad_request", "the multipart body cannot be read", evidence=evidence[:200],
        remedy="use the multipart encoder of an HTTP client, for example curl -F",
    )  # fmt: skip


def _wrong_parts(name: str | None) -> UsageError:
    return UsageError(
        "invalid_request",
        "a multipart request needs one part `job` with the JSON of the job and one part `file` for each file",
        evidence=None if name is None else f"part {name[:100]!r}",
        remedy='as in curl -F \'job={"kind": "xtb"}\' -F file=@water.xyz',
    )
