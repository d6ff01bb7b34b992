"""The settings file, and the passwords that settings name files for: see `settings`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qmrunner import masking
from qmrunner import setting_values as read

PREFIX = "QMRUNNER_"


def read_lines(given: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The settings of the file that `given` names, else of the one in the home. Appends what is wrong to `problems`."""
    named = given.get(f"{PREFIX}CONFIG")
    home = given.get(f"{PREFIX}HOME") or "qmrunner-data"
    path = read.path(named) if named else read.path(home) / "qmrunner.env"
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        if named:
            problems.append(f"{PREFIX}CONFIG: no such file: {path}")
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        problems.append(f"{path}: cannot be read ({problem})")
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
        values[name.strip()] = value.strip().strip("\"'")
    return values


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
