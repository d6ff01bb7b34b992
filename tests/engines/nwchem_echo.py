"""What NWChem itself reads of a deck, from real runs: every word of every statement, and where it stopped."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qmrunner.engines import get
from qmrunner.engines.nwchem.input import reader
from qmrunner.engines.nwchem.input.reader import Statement
from qmrunner.host.probe import probe
from tests.surroundings import plain

HEAD = b"start w\nprint rtdbvalues\n"
_LONGEST_VALUE = 255
# NWChem has taken these in before it looks at the others.
_TAKEN_BEFORE = ("start", "print", "memory", *reader.FOLDERS)
_ENTRY = re.compile(rb"^ (k\d+) +char\[(\d+)\] +\w{3} \w{3} [ \d]\d [\d:]{8} \d{4} *\n", re.MULTILINE)
_STOPPED = re.compile(rb"current input line : *\n *(\d+): ([^\n]*)\n")


@dataclass(frozen=True, slots=True)
class Echo:
    """The words of every `set NAME string …` by name; number of line and text of the statement NWChem stopped at."""

    values: Mapping[str, tuple[str, ...]]
    stopped: tuple[int, str] | None


def run(folder: Path, name: str) -> bytes:
    """What NWChem prints for the deck `name` in `folder`, run as the program alone on one rank."""
    path = probe(get("nwchem"), {}).path
    assert path is not None
    ended = subprocess.run(
        [path, name],
        cwd=folder,
        env={**plain(), "SCRATCH_DIR": ".", "PERMANENT_DIR": "."},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )
    return ended.stdout + ended.stderr


def of_nwchem(folder: Path, deck: bytes, files: Mapping[str, bytes], *, head: bytes = HEAD) -> Echo:
    """NWChem's reading of `deck`, whose statements are `set NAME string …` or stop it."""
    for name, data in {**files, "t.nw": head + deck}.items():
        (folder / name).write_bytes(data)
    output = run(folder, "t.nw")
    stopped = _STOPPED.search(output)
    if stopped:
        return Echo({}, (int(stopped[1]), _bare(stopped[2].decode("latin-1"))))
    assert b"Contents of RTDB" in output, output[-2000:]
    found = {}
    for match in _ENTRY.finditer(output):
        data = output[match.end() : match.end() + int(match[2])].decode("latin-1")
        found[match[1].decode()] = tuple(word.rstrip(" ") for word in data.split("\n")[:-1])
    return Echo(found, None)


def of_reader(deck: bytes, files: Mapping[str, bytes]) -> Echo:
    """The same by our reader."""
    found: dict[str, tuple[str, ...]] = {}
    everything = list(_said(HEAD + deck, files))
    latest = ""
    # NWChem scans all of the input once before it takes it in.
    for number, said in everything:
        if not isinstance(said, Statement):
            return Echo({}, (number, latest))
        if said.broken:
            break
        latest = _bare(said.text)
    for number, said in everything:
        if not isinstance(said, Statement) or said.broken:
            return Echo(found, None)
        latest, words = _bare(said.text), said.words
        if said.directive in _TAKEN_BEFORE:
            continue
        if said.directive != "set" or len(words) < 3 or any(len(word) > _LONGEST_VALUE for word in words):
            return Echo({}, (number, latest))
        if re.fullmatch(r"k\d+", words[1]):
            # Without a value behind it, the type is the value.
            found[words[1]] = tuple(word.rstrip(" ") for word in words[3:] or words[2:])
    return Echo(found, None)


def _said(deck: bytes, files: Mapping[str, bytes]) -> Iterator[tuple[int, Statement | str]]:
    """Every statement, those of included files in their places, with the number that NWChem gives it in an error; the
    name of a file that is not there."""
    for line in reader.read(deck):
        for statement in line.statements:
            yield line.last, statement
        if line.included is not None and line.included in files:
            yield from _said(files[line.included], files)
        elif line.included is not None:
            yield line.last, line.included


def _bare(text: str) -> str:
    """Without blanks around it and the backslashes that quote a quote, which NWChem drops from the line, too."""
    return re.sub(r'\\+"', '"', text.strip(" \t"))
