"""Decks in which a canary would be touched: every known way to run, read, write or connect × every known disguise.

`decks` makes any number of them from a seed. They are for two runs: with the check switched off, where the kernel alone
has to hold, and without the kernel's layer, where the check has to refuse each or the real NWChem do no harm.
"""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

DECK = "deck.nw"
MARK = b"not-for-you"
_SECRETS = {"secret": b"title not-for-you\n", "secret.xyz": b"1\nnot-for-you\nNe 0 0 0\n"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do harm: its kind, the lines that do it, under which names the forged database is submitted.

    `acts`: NWChem 7.0.2 was seen to do it with these lines alone.
    """

    kind: str
    lines: tuple[str, ...]
    databases: tuple[str, ...] = ()
    acts: bool = True


@dataclass(frozen=True, slots=True)
class Canary:
    """A deck (`DECK` among `files`) that tries to touch something of `kind`; `name` has the way and the disguise."""

    name: str
    files: Mapping[str, bytes]
    kind: str


class Place:
    """What the canaries watch: the folder `outside` with secrets in it, and a port of this machine.

    `database` is what a run left that writes its orbitals to ``outside/via_db``; see `FORGER`.
    """

    def __init__(self, outside: Path, database: bytes = b"") -> None:
        self.outside, self.database = outside, database
        self._open = ExitStack()
        self._tcp = self._open.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._tcp.getsockname()[1]
        self._udp = self._open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._udp.bind(("127.0.0.1", self.port))
        for listener in (self._tcp, self._udp):
            listener.setblocking(False)
        for name, data in _SECRETS.items():
            (outside / name).write_bytes(data)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def harm(self, printed: bytes, work: Path, given: Mapping[str, bytes]) -> str | None:
        """What a run in `work` did that it must not have, if anything; the place is as before then."""
        found = None
        for path in self.outside.iterdir():
            if path.name not in _SECRETS or path.read_bytes() != _SECRETS[path.name]:
                found = f"wrote {path.name}"
                path.unlink()
        # A launcher that was ended may still be removing its session: what goes away meanwhile is passed over.
        left = (Path(root, name) for root, _, names in os.walk(work) for name in names if name not in given)
        if MARK in printed or any(MARK in _content(path) for path in left):
            found = "read the secret"
        with suppress(BlockingIOError):
            while True:
                self._tcp.accept()[0].close()
                found = "connected"
        with suppress(BlockingIOError):
            self._udp.recv(4096)
            found = "sent a datagram"
        return found


def _content(path: Path) -> bytes:
    """What is in a file; nothing where it is none, or none any more."""
    with suppress(OSError):
        return path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    return b""


FORGER = (
    "start w\nmemory total 200 mb\ngeometry noautoz\n He 0 0 0\nend\nbasis\n * library sto-3g\nend\n"
    'set "scf:output vectors" {out}/via_db\n'
)
_WRITE = 'task shell "touch {out}/hit"'
WAYS = {
    "shell": Way("command", (_WRITE,)),
    "shell on rank 0": Way("command", ('task shell 0 "touch {out}/hit"',)),
    "shell on all": Way("command", ('task shell all "touch {out}/hit"',)),
    "shell that reads": Way("read", ('task shell "cat {out}/secret"',)),
    "python": Way("command", ("python", "import os", 'os.system("touch {out}/hit")', "end", "task python")),
    "python that reads": Way("read", ("python", 'print(open("{out}/secret").read())', "end", "task python")),
    "debugger": Way("command", ("set dbg:xterm {out}/secret", "task scf energy debug"), acts=False),
    "orbitals written": Way("write", ("scf; vectors output {out}/hit; end",)),
    "orbitals written over lines": Way("write", ("scf", " vectors output {out}/hit", "end")),
    "orbitals by a key": Way("write", ('set "scf:output vectors" {out}/hit',)),
    "orbitals of dft": Way("write", ("dft; vectors output {out}/hit; end", "task dft")),
    "cube": Way("write", ("task scf", "dplot", " gaussian", " output {out}/hit", " limitxyz", " -1 1 2", " -1 1 2",
                          " -1 1 2", "end", "task dplot")),
    "report": Way("write", ("ecce_print {out}/hit",)),
    "run named elsewhere": Way("write", ("start {up}{out}/hit",)),
    "database elsewhere": Way("write", ("start w rtdb {out}/hit",)),
    "structures": Way("write", ("driver; maxiter 1; xyz {out}/hit; end", "task scf optimize"), acts=False),
    "included": Way("read", ("include {out}/secret",)),
    "included without a blank": Way("read", ("IncludeX{out}/secret",)),
    "structure loaded": Way("read", ("geometry", " load format xyz {out}/secret.xyz", "end"), acts=False),
    "basis read": Way("read", ("basis", " * library secret file {out}/secret", "end"), acts=False),
    "basis read for a tag": Way("read", ("geometry noautoz", " title 0 0 0", "end", "basis",
                                         " title library secret file {out}/", "end"), acts=False),
    "forged database": Way("write", ("restart w rtdb base",), ("base",)),
    "forged database by its name": Way("write", ("restart base",), ("base.db",)),
    "forged database of the deck": Way("write", ("restart",), ("deck.db",)),
    "forged database without a word": Way("write", ("charge 0",), ("deck.db",)),
    "socket": Way("connection", ("driver; socket ipi_client 127.0.0.1:{port}; end", "task scf optimize")),
    "socket by keys": Way("connection", ("set driver:socket .true.", "set driver:socket_type ipi_client",
                                         "set driver:socket_ip 127.0.0.1:{port}", "task scf optimize")),
    "speech": Way("connection", ("speech 127.0.0.1 {port}", "task scf optimize"), acts=False),
    "molecular dynamics": Way("connection", ("md", " system ethanol_md", " step 0.001 equil 0 data 20",
                                             " server 127.0.0.1 {port}", "end", "task md dynamics"), acts=False),
    "plane waves": Way("connection", ("nwpw", " socket ipi_client 127.0.0.1:{port}", "end", "task pspw optimize"),
                       acts=False),
}  # fmt: skip
# What stands before the first line of a way, so that another reader might take it for something else.
_BEFORE = ["scratch_dir x \\ # c\n", "permanent_dir x \\ # c \n", "memory total 300 mb \\\n",
           "memory total 300 mb;",
           "scratch_dir x;", "title x \\ # c\n", "# c \\\n\n", "# c \\ #\n", 'title "x"\\#;', "title x\\\\;",
           'set a "b\\";"\n', "title x\r", "title x \\\r\n\n", "charge 0;", "charge 0; ;", ";", "\\\n", "\\\n\\\n", " ",
           "\t", 'title "a;b"\n', 'title "x \\\n "\n', "scf; end;", "echo\n", "#\r", "title \xe4;", "title \xa0\n",
           "title \u00c3\u00a4;", "scratch_dir \xe4\\ #\n", "scratch_dir x \\\r\n\n", "memory total 300 mb \\ # \\\n",
           "title " + "x" * 1010 + "\n", "title x" + " " * 1040 + "\r", "title x" + " " * 1040 + "\r\n",
           "#" * 1030 + "\r",
           "title x \\\n" * 3 + "\n", "restart w\n", "memory total 300 mb#\n", "scratch_dir x#\\\n", "eof \\\n",
           "set k string a \\ \t\n\n", "permanent_dir x \\\n#\n", "\x00", "\xef\xbb\xbf", "\x0b", "\x85\n"]  # fmt: skip
_AFTER = ["", "", "", " # c", " \\", " \\\n", ";", "; charge 0", " #\\", " # \\\n", " \\ # c", " " * 1100 + "x", "\x00",
          "\xa0", " \\\n\n", '"', " \xe4"]  # fmt: skip
_BLANKS = [" ", " ", " ", "\t", "   ", " \\\n", "\\\n ", " \\ \t\n", " \\\r\n", " \\\r", " \\\n\n", "\xa0", " " * 500]
_ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n", " # c\n", ";"]
_HEAD = ["start w", "memory total 200 mb", "geometry noautoz", " He 0 0 0", "end", "basis", " * library sto-3g", "end"]


def plain(way: str, place: Place) -> Canary:
    """The way itself, without a disguise."""
    return _made(f"{way}, plain", WAYS[way], [*WAYS[way].lines], place, None)


def decks(seed: int, count: int, place: Place) -> Iterator[Canary]:
    """`count` canaries in disguise, the same for the same seed, folder and port."""
    chance = random.Random(seed)
    for number in range(count):
        name = chance.choice(sorted(WAYS))
        way = WAYS[name]
        lines = [_disguised(line, chance) for line in way.lines]
        lines[0] = "".join(chance.choice(_BEFORE) for _ in range(chance.choice([0, 1, 1, 1, 2, 3]))) + lines[0]
        lines[-1] += chance.choice(_AFTER)
        yield _made(f"{name}, seed {seed} number {number}", way, lines, place, chance)


def _disguised(line: str, chance: random.Random) -> str:
    """The line with other blanks, quotes and case; what stands in quotes or names a file keeps its letters."""
    words = re.findall(r'"[^"]*"|\S+', line)
    kept = chance.random()
    for at, word in enumerate(words):
        if word.startswith('"') or "{" in word or word in ("rtdb", "base") or kept < 0.3:
            continue
        words[at] = chance.choice([str, str, str.upper, str.title, str.swapcase])(word)
        if chance.random() < 0.15 and ";" not in word:
            words[at] = f'"{words[at]}{chance.choice(["", "", " ", chr(9)])}"'
    out = " " * (len(line) - len(line.lstrip()))
    for at, word in enumerate(words):
        blank = " " if kept < 0.3 or chance.random() < 0.6 else chance.choice(_BLANKS)
        out += (blank if at else "") + word
    return out


def _made(name: str, way: Way, lines: list[str], place: Place, chance: random.Random | None) -> Canary:
    head = [line for line in _HEAD if line != "start w" or not name.startswith(("run named", "database", "forged"))]
    tail = ["task scf"]
    files = dict.fromkeys(way.databases, place.database)
    at, end = len(head), "\n"
    if name.startswith(("report", "included", "run named", "database", "forged")):
        at = 0
    if name.startswith(("structure loaded", "basis read", "forged")):
        head = [] if "forged" in name else [line for line in head if line not in ("geometry noautoz", " He 0 0 0")]
        at = len(head)
    text = [*head[:at], *lines, *head[at:], *tail]
    if chance is not None:
        if chance.random() < 0.3:
            at = chance.randrange(len(head) + 1)
            text = [*head[:at], *lines, *head[at:], *tail]
        if chance.random() < 0.1:
            text = [*head, *tail, *lines, *tail]
        if chance.random() < 0.15:
            files["more.nw"] = _bytes("\n".join(lines) + "\n", place)
            include = chance.choice(["include more.nw", "INCLUDE more.nw", "include\tmore.nw", "includexmore.nw"])
            text = [include if line is lines[0] else line for line in text if line is lines[0] or line not in lines]
        if chance.random() < 0.15:
            text = [line for line in text if not line.startswith("memory total 200")]
        end = chance.choice(_ENDS) if chance.random() < 0.3 else "\n"
    files[DECK] = _bytes(end.join(text) + end, place)
    return Canary(name, files, way.kind)


def _bytes(text: str, place: Place) -> bytes:
    return (
        text.replace("{up}", "../" * 20)
        .replace("{out}", str(place.outside))
        .replace("{port}", str(place.port))
        .encode("latin-1")
    )
