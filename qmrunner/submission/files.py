"""Input files and pass-through arguments of a submission: read, named and checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePath

from qmrunner.errors import UsageError, nearest

MAX_BYTES = 64 * 1024 * 1024


def read(path: str) -> tuple[str, bytes]:
    """Name and content of one input file.

    Raises UsageError `file_not_found` (with the nearest name there), `unreadable_file`, `empty_file`, `bad_file_name`,
    `file_too_big`.
    """
    file = Path(path).expanduser()
    try:
        if not file.is_file():
            raise _not_a_file(file)
        if file.stat().st_size > MAX_BYTES:
            raise UsageError(
                "file_too_big",
                f"{file.name} is larger than {MAX_BYTES >> 20} MiB",
                remedy="check that it is an input and not an output",
            )
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(
            "unreadable_file", f"{path} cannot be read", evidence=reason, remedy="check the path and its permissions"
        ) from None
    if not data.strip():
        raise UsageError(
            "empty_file", f"{file.name} is empty", evidence=f"{len(data)} bytes", remedy="give a file with content"
        )
    return _checked_name(file.name), data


def _not_a_file(file: Path) -> UsageError:
    if file.is_dir():
        return UsageError("unreadable_file", f"{file} is a folder", remedy="give the path of a file in it")
    if file.exists():
        return UsageError("unreadable_file", f"{file} is not a regular file", remedy="give a regular file")
    near = nearest(file.name, [other.name for other in file.parent.iterdir()]) if file.parent.is_dir() else None
    hint = f"did you mean {file.parent / near}?" if near else "check the path"
    return UsageError("file_not_found", f"no such file: {file}", remedy=hint)


def _checked_name(name: str) -> str:
    if name.startswith("-") or not name.isprintable():
        raise UsageError(
            "bad_file_name",
            f"the file name {name!r} would be misread by the engine",
            remedy="rename the file: no leading '-', no control characters",
        )
    return name


def collect(main: str, others: Sequence[str]) -> tuple[str, dict[str, bytes]]:
    """Name of the main file, and all files by name, the main one first. All go into one folder.

    Raises UsageError `duplicate_file` when two have the same name, `bad_file_name` for a name that a work folder
    cannot have, and what `read` raises.
    """
    from qmrunner.engines.input_check import check_names

    name, data = read(main)
    files = {name: data}
    for path in others:
        other, content = read(path)
        if other in files:
            raise UsageError(
                "duplicate_file",
                f"two files are called {other}",
                evidence=path,
                remedy="all files of a job share one folder: rename one of them",
            )
        files[other] = content
    check_names(files)
    return name, files


def check_arguments(args: Sequence[str]) -> None:
    """Raise UsageError `bad_argument` for an argument with control characters."""
    for argument in args:
        if not argument.isprintable():
            raise UsageError("bad_argument", f"the argument {argument!r} contains a control character")


def confine_arguments(args: Sequence[str]) -> None:
    """Raise UsageError `argument_escapes` for an argument that names a file outside the job's folder."""
    from qmrunner.engines.input_check import UNCONFINED

    for argument in args:
        for word in argument.split("="):
            if word.startswith(("/", "~/")) or ".." in PurePath(word).parts:
                raise UsageError(
                    "argument_escapes",
                    f"the argument {argument!r} names a file outside the job's folder",
                    evidence=word,
                    remedy=f"add the file with --with FILE and refer to it by its bare name; {UNCONFINED}",
                )


def refuse_file_of_unknown_format(text: str, known: Collection[str]) -> None:
    """Raise UsageError `unknown_format` or `file_not_found` when `text` is not a SMILES and looks like a file."""
    path = Path(text).expanduser()
    suffix = path.suffix.lower()
    try:
        there = path.is_file()
    except (OSError, ValueError):
        return
    if there:
        raise UsageError(
            "unknown_format",
            f"{path.name}: unknown file extension {suffix or '(none)'}",
            remedy=f"give a SMILES or a file with one of these extensions: {', '.join(known)}",
        )
    near = nearest(suffix, tuple(known)) if len(suffix) > 1 else None
    if near:
        raise UsageError(
            "unknown_format", f"{text!r} is neither a SMILES nor a known file", remedy=f"did you mean {near}?"
        )
