"""Whether a CREST run stays in its folder and starts no program but its own (see `engines.confine`).

CREST puts its arguments and file names into lines for a shell, calls whatever `-xnam` names, and takes orders from TOML
files, whose keys can name programs, scripts and a server as well (source of 2.12 and 3.0.2).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qmrunner.engines.confine import Finding, arguments, escapes, words
from qmrunner.engines.xtb import confine as xtb

_PROGRAM = "starts another program"
_OPTIONS = {
    "xnam": _PROGRAM,
    "scratch": "works in a directory of its own; the attempt's is scratch already",
    "sandbox": "runs what its developers are trying",
    "playground": "runs what its developers are trying",
    "test": "runs what its developers are trying",
    "oniom": "takes in a file whose programs are not looked at",
}
_SAFE = re.compile(r"[\w.,:+@%=/-]*")
_KEYS = ("bin", "binary", "script", "cmd", "orca_cmd", "orca_template", "confsolv", "port", "scratch", "scratchdir")
_METHODS = ("generic", "orca", "turbomole", "tm", "gxtb", "gxtb_dev")
_TOML_REMEDY = "keep only keys that set numbers, methods of xTB and plain file names"
_INPUTS = ("input", "i")


def findings(args: Sequence[str], files: Mapping[str, bytes]) -> list[Finding]:
    """What of the arguments and of the files handed in, by name, would leave the folder or start something."""
    found = arguments("crest", args, _OPTIONS, _SAFE)
    found += xtb.instructions(files)
    for name, data in files.items():
        if name.lower().endswith(".toml"):
            found += _of_toml(name, data)
    for option, value in pairwise(args):
        if option.lstrip("-") in _INPUTS and not value.lower().endswith(".toml"):
            reason, remedy = "is read as TOML, and is not called so", "give the input file the ending .toml"
            found.append(Finding("the arguments of crest", None, value, reason, remedy))
    return found


def _of_toml(name: str, data: bytes) -> list[Finding]:
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return [Finding(name, None, str(error), "is no TOML that could be looked at", "write it as TOML 1.0")]
    found = []
    for key, value in _entries(content):
        text = f"{key} = {value}"
        if key in _KEYS or (isinstance(value, str) and value.lower() in _METHODS):
            found.append(Finding(name, None, text, _PROGRAM, _TOML_REMEDY))
        elif isinstance(value, str) and not _SAFE.fullmatch(value.replace(" ", "")):
            found.append(Finding(name, None, text, "holds a character that a shell would read", _TOML_REMEDY))
        elif isinstance(value, str) and any(escapes(word) for word in words(value)):
            found.append(Finding(name, None, text, "names a file outside the job's folder", _TOML_REMEDY))
    return found


def _entries(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key in lower case with its value, through tables and lists."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield name.lower(), value
            yield from _entries(value, name.lower())
    elif isinstance(content, list):
        for value in content:
            if not isinstance(value, Mapping):
                yield key, value
            yield from _entries(value, key)
