"""Files that an engine left: opened without following a link, without waiting, only if regular, and of bounded size.

An engine may have replaced a file by anything: a link to a secret, a pipe that never delivers, a folder, a file of
3 TiB without one block, a line without an end. All code that reads files of an attempt or a job uses this module.
Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

RECORD_BYTES = 1 << 20  # small JSON: exit records, paces, markers
TEXT_BYTES = 64 << 20  # structures, Hessians, decks: read as a whole
LINE_BYTES = 64 << 10  # the rest of a longer line is dropped
CUT = b" [qmrunner: the rest of this line was dropped]"
# A file whose blocks hold less than this part of its size counts as hollow, unless it is at most so small.
_HOLLOW_SHARE, _HOLLOW_BYTES = 64, 16 << 20
_AT_ONCE = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(OSError):
    """The path exists, but is not a regular file of an accepted size."""


def _refused(path: Path, why: str) -> Refused:
    return Refused(errno.EINVAL, why, str(path))


def open_file(path: Path, most: int | None = None, *, below: Path | None = None) -> BinaryIO:
    """The regular file `path`, open for reading; neither it nor a folder `below` that one (else: its own folder) may
    be a link.

    Raises Refused, also for more than `most` bytes, and OSError when it is missing or not readable.
    """
    top = path.parent if below is None else below
    at = open_folder(top)
    try:
        for level in path.relative_to(top).parts[:-1]:
            top = top / level
            inner = open_folder(top, at)
            os.close(at)
            at = inner
        return open_at(at, path.name, most)
    finally:
        os.close(at)


def open_folder(path: Path, within: int | None = None) -> int:
    """A descriptor of a folder that is not a link. Raises Refused for another thing, OSError."""
    try:
        return os.open(path if within is None else path.name, _FOLDER, dir_fd=within)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _refused(path, "is a link or not a folder") from None
        raise


def open_at(folder: int, name: str, most: int | None = None) -> BinaryIO:
    """`open_file` for a name in the folder of a descriptor."""
    path = Path(name)
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise _refused(path, _KINDS.get(problem.errno, "is not a regular file")) from None
        raise
    found = os.fstat(descriptor)
    why = None
    if not stat.S_ISREG(found.st_mode):
        why = "is not a regular file"
    elif most is not None and found.st_size > most:
        why = f"has {found.st_size:,} bytes, and at most {most:,} are read"
    if why is not None:
        os.close(descriptor)
        raise _refused(path, why)
    return os.fdopen(descriptor, "rb")


_KINDS = {errno.ELOOP: "is a link", errno.ENXIO: "is a socket or a pipe"}


def size(path: Path) -> int:
    """Bytes of a regular file. Raises Refused, OSError. Nothing is opened."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise _refused(path, "is a link" if stat.S_ISLNK(found.st_mode) else "is not a regular file")
    return found.st_size


def is_file(path: Path) -> bool:
    """Whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_there(path: Path) -> bool:
    """Whether the path exists, including a dangling link."""
    return os.path.lexists(path)


def read_bytes(path: Path, most: int = TEXT_BYTES) -> bytes:
    """The whole file. Raises Refused, OSError."""
    with open_file(path, most) as file:
        data = file.read(most + 1)  # it may have grown
    if len(data) > most:
        raise _refused(path, f"at most {most:,} bytes are read")
    return data


def read_text(path: Path, most: int = TEXT_BYTES, *, errors: str = "replace") -> str:
    """The whole file as UTF-8. Raises Refused, OSError, and UnicodeDecodeError with `errors="strict"`."""
    return read_bytes(path, most).decode("utf-8", errors).replace("\r\n", "\n")


def read_json(path: Path, most: int = RECORD_BYTES) -> Any:
    """The value in a small file. Raises Refused, OSError, ValueError."""
    try:
        return json.loads(read_bytes(path, most))
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def lines(path: Path, longest: int = LINE_BYTES) -> Iterator[str]:
    """The lines of a text file of any size, without their ends; each is cut at `longest` bytes, with a mark.

    Raises Refused, OSError.
    """
    with open_file(path) as file:
        cutter = Lines(longest)
        while data := file.read(_AT_ONCE):
            for line in cutter.feed(data):
                yield line.decode("utf-8", "replace").rstrip("\r")
        if cutter.partial:
            yield cutter.partial.decode("utf-8", "replace").rstrip("\r")


class Lines:
    """Cuts a stream of bytes into lines, and keeps no more than `longest` bytes of one."""

    def __init__(self, longest: int = LINE_BYTES) -> None:
        self._longest = longest
        self._kept = b""
        self._dropping = False

    @property
    def partial(self) -> bytes:
        """The part read so far of a line that has not ended."""
        return self._kept + CUT if self._dropping else self._kept

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, without their ends."""
        first, *others = data.split(b"\n")
        self._add(first)
        if not others:
            return []
        *whole, last = others
        found = [self.partial, *(line if len(line) <= self._longest else self._cut(line) for line in whole)]
        self._kept, self._dropping = b"", False
        self._add(last)
        return found

    def _cut(self, line: bytes) -> bytes:
        return line[: self._longest] + CUT

    def _add(self, part: bytes) -> None:
        room = self._longest - len(self._kept)
        if len(part) > room:
            self._dropping = True
            part = part[:room]
        self._kept += part


def is_hollow(found: os.stat_result) -> bool:
    """Whether a file consists almost only of holes: reading or sending it would cost far more than was written."""
    return found.st_size > _HOLLOW_BYTES and found.st_blocks * 512 * _HOLLOW_SHARE < found.st_size


def objection(path: Path) -> str | None:
    """Why a file must not be published; None if it may be."""
    try:
        with open_file(path) as file:
            found = os.fstat(file.fileno())
    except OSError as problem:
        return f"{path.name} {problem.strerror}" if isinstance(problem, Refused) else f"{path.name}: {problem.strerror}"
    if is_hollow(found):
        return f"{path.name} has {found.st_size:,} bytes, of which {found.st_blocks * 512:,} were ever written"
    return None


def copy(source: Path, target: Path, *, below: Path | None = None) -> None:
    """A new file `target` with the bytes of `source` (see `open_file`); holes stay holes. An existing file is replaced.
    Raises Refused, OSError.
    """
    with open_file(source, below=below) as file, create(target) as out:
        _copy_data(file.fileno(), out.fileno(), os.fstat(file.fileno()).st_size)


def _copy_data(source: int, target: int, end: int) -> None:
    at = 0
    while at < end:
        try:
            begin = os.lseek(source, at, os.SEEK_DATA)
        except OSError as problem:
            if problem.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        at = min(os.lseek(source, begin, os.SEEK_HOLE), end)
        os.lseek(source, begin, os.SEEK_SET)
        os.lseek(target, begin, os.SEEK_SET)
        while begin < at and (data := os.read(source, min(_AT_ONCE, at - begin))):
            begin += len(data)
            while data:
                data = data[os.write(target, data) :]
    os.ftruncate(target, end)


def create(path: Path) -> BinaryIO:
    """A new file, open for writing; anything else at that path is removed, unless it is a folder. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    return os.fdopen(os.open(path, _NEW, 0o666), "wb")


def overwrite(path: Path) -> BinaryIO:
    """A file open for writing, emptied if it exists. Raises Refused if something other than a regular file is there,
    OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as problem:
        if problem.errno in _KINDS:
            raise _refused(path, _KINDS[problem.errno]) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(path, "is not a regular file")
    os.ftruncate(descriptor, 0)
    return os.fdopen(descriptor, "wb")


def write_text(path: Path, text: str) -> None:
    """A new file in place of whatever is there. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """A new file in place of whatever is there. Raises OSError."""
    with create(path) as file:
        file.write(data)
