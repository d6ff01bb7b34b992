"""The settings file, and the passwords that settings name files for: see `settings`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qmrunner import masking
from qmrunner import setting_values as read

PREFIX = "QMRUNNER_"


def read_lines(given: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The settings of the file that `given` names, else of the one in the home. Appends what is wrong to `problems`."""
    try:
        path, named = _place(given)
    except ValueError as problem:
        problems.append(f"{PREFIX}CONFIG or {PREFIX}HOME: {problem}")
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows begin a file with a mark
    except (FileNotFoundError, NotADirectoryError):
        if named:
            problems.append(f"{PREFIX}CONFIG: no such file: {path}")
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        problems.append(f"{path}: cannot be read ({problem}){_whose(path)}")
        return {}
    values: dict[str, str] = {}
    parted = (line.strip().partition("=") for line in text.splitlines())
    masking.know(urls((name, value or name) for name, _, value in parted), also=True)
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().startswith(PREFIX):
            # Show only the first word: a line that is not a setting may be a password.
            began = re.split(r"[^\w ]", line, maxsplit=1)[0].split()
            problems.append(f"{path}:{number}: expected {PREFIX}NAME=value, got {' '.join(began[:1])!r}…")
            continue
        values[name.strip()] = value
    return values


def _whose(path: Path) -> str:
    """An addition for the home of another user, who alone can use it: every command opens its files."""
    try:
        owner = os.stat(path.parent).st_uid
    except OSError:
        return ""
    if owner == os.geteuid() or os.access(path.parent, os.X_OK):
        return ""
    return (
        f": {path.parent} is private to user id {owner}, and this is {os.geteuid()}. Run the command as that user, "
        f"set {PREFIX}HOME to another folder, or use that user's `qmrunner serve` with a token"
    )


def place(given: Mapping[str, str]) -> Path | None:
    """The file of these variables, whether it exists or not; None if they name none."""
    try:
        return _place(given)[0]
    except ValueError:
        return None


def _place(given: Mapping[str, str]) -> tuple[Path, str]:
    """The settings file, and the text that names it, if it is not the one in the home. Raises ValueError."""
    named, home = (plain(given.get(f"{PREFIX}{name}", "")) for name in ("CONFIG", "HOME"))
    return read.path(named) if named else read.path(home or "qmrunner-data") / "qmrunner.env", named


def plain(text: str) -> str:
    """The value as it was meant: without spaces around it, and without quotes around the whole of it, which a shell
    removes, but neither this file nor `docker --env-file` has. Raises ValueError for control characters: no value has
    one, and the carriage return of a file from Windows would become a part of a path."""
    value = text.strip()
    if len(value) > 1 and value[0] in "\"'" and value.find(value[0], 1) == len(value) - 1:
        value = value[1:-1]
    if not all(character.isprintable() for character in value if character < "\x80"):
        raise ValueError(f"expected a value without control characters, got {value!r}")
    return value


def urls(given: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The values that are or may be URLs, also of misspelled settings."""
    for name, value in given:
        suspicious = "//" in value or "=" in value or ("@" in value and not value.startswith(("/", "~", ".")))
        if suspicious or name.endswith(("URL", "ARTIFACTS")):
            yield value.strip().strip("\"'")


def take_password(what: str, values: dict[str, Any]) -> list[str]:
    """Put the password of `store` or `queue` from its file into its URL. Returns the problems found."""
    path = values.get(f"{what}_password_file")
    if path is None:
        return []
    name, url = f"{PREFIX}{what.upper()}_PASSWORD_FILE", values.get(f"{what}_url") or ""
    scheme, _, rest = url.partition("://")
    place, slash, database = rest.partition("/")
    user, _, host = place.rpartition("@")
    if scheme in ("", "sqlite"):
        return [f"{name}: it needs a server; set {PREFIX}{what.upper()}_URL"]
    if ":" in user:
        return [f"{name}: {PREFIX}{what.upper()}_URL contains a password as well; remove one of them"]
    try:
        password = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        return [f"{name}: cannot be read ({problem})"]
    if not password:
        return [f"{name}: {path} is empty"]
    from urllib.parse import quote

    masking.know((), [password], also=True)
    values[f"{what}_url"] = f"{scheme}://{user}:{quote(password, safe='')}@{host}{slash}{database}"
    return []
