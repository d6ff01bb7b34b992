"""What an engine may have put in place of a file, against everything that opens one."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner import untrusted
from tests.support import short_folder

SECRET = "the secret"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Clients connect by its path."""
    with short_folder() as folder:
        yield folder


def link(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text(SECRET)
    path.symlink_to(secret)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def linked_folder(path: Path) -> None:
    """The file is one; its folder is a link."""
    real = path.parent.with_name("real")
    real.mkdir()
    (real / path.name).write_text(SECRET)
    path.parent.rmdir()
    path.parent.symlink_to(real)


def file_for_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text(SECRET)


def pipe_for_folder(path: Path) -> None:
    path.parent.rmdir()
    os.mkfifo(path.parent)


THINGS: dict[str, Callable[[Path], object]] = {
    "link": link,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "socket": bound,
    "linked folder": linked_folder,
    "file in place of the folder": file_for_folder,
    "pipe in place of the folder": pipe_for_folder,
}
READERS: dict[str, Callable[[Path], object]] = {
    "open": untrusted.open_file,
    "bytes": untrusted.read_bytes,
    "text": untrusted.read_text,
    "json": untrusted.read_json,
    "lines": lambda path: list(untrusted.lines(path)),
    "copy": lambda path: untrusted.copy(path, path.parent.parent / "copied"),
}


def within(seconds: float, call: Callable[[], object]) -> BaseException | None:
    """What a call raised; it must have come back within the time."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as problem:
            raised.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the call waits"
    return raised[0] if raised else None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "result"


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_follows_waits_or_reads_what_is_no_file(place: Path, thing: str, reader: str) -> None:
    THINGS[thing](place)
    assert isinstance(within(5.0, lambda: READERS[reader](place)), untrusted.Refused)
    assert not (place.parent.parent / "copied").exists()


@pytest.mark.parametrize("thing", [name for name in THINGS if "folder" not in name])
def test_what_lies_in_the_way_of_a_new_file_is_replaced_and_never_followed(place: Path, thing: str) -> None:
    THINGS[thing](place)
    assert within(5.0, lambda: untrusted.write_text(place, "mine")) is None
    assert untrusted.read_text(place) == "mine"
    secret = place.with_name("secret")
    assert not secret.exists() or secret.read_text() == SECRET


@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("open", "lines", "copy")])
def test_what_is_read_as_a_whole_has_a_largest_size(place: Path, reader: str) -> None:
    with open(place, "wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        assert isinstance(within(5.0, lambda: READERS[reader](place)), untrusted.Refused)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_line_without_an_end_costs_no_more_than_its_bound(place: Path) -> None:
    with open(place, "wb") as file:
        file.write(b"first\n")
        for _ in range(64):
            file.write(b"y" * (1 << 20))
        file.write(b"\nlast\n" + b"z" * 100_000)
    tracemalloc.start()
    try:
        found = [(line[:5], len(line)) for line in untrusted.lines(place)]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    cut = untrusted.LINE_BYTES + len(untrusted.CUT)
    assert found == [("first", 5), ("yyyyy", cut), ("last", 4), ("zzzzz", cut)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_lines_are_the_same_however_they_come_in_pieces(data: bytes, cuts: list[int], longest: int) -> None:
    """Against the plain way: split, then cut each line."""
    edges = [0, *sorted(cuts), len(data)]
    cutter = untrusted.Lines(longest)
    found = [line for a, b in pairwise(edges) for line in cutter.feed(data[a:b])]
    wanted = [line if len(line) <= longest else line[:longest] + untrusted.CUT for line in data.split(b"\n")]
    assert [*found, cutter.partial] == wanted


@pytest.fixture
def sparse(place: Path) -> Path:
    with open(place, "wb") as file:
        file.write(b"begin")
        file.seek(3 << 30)
        file.write(b"end")
    return place


def test_holes_stay_holes_in_a_copy(sparse: Path) -> None:
    copied = sparse.with_name("copied")
    untrusted.copy(sparse, copied)
    assert copied.stat().st_size == sparse.stat().st_size
    assert copied.stat().st_blocks * 512 < 1 << 20
    with open(copied, "rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(3 << 30)
        assert file.read() == b"end"


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 20, (1 << 20) + 1, 5_000_001])
def test_a_copy_is_the_file(place: Path, size: int) -> None:
    place.write_bytes(os.urandom(size))
    untrusted.copy(place, place.with_name("copied"))
    assert place.with_name("copied").read_bytes() == place.read_bytes()


def test_a_result_of_holes_is_none_and_one_of_bytes_is(sparse: Path) -> None:
    assert "of which" in str(untrusted.objection(sparse))
    sparse.write_bytes(b"x" * (20 << 20))
    assert untrusted.objection(sparse) is None
    sparse.unlink()
    os.mkfifo(sparse)
    assert untrusted.objection(sparse) is not None
