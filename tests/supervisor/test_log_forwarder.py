"""The tee: every byte forwarded, or its absence announced, and no writer ever blocked by a reader."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qmrunner.attempt.log_registry import LogRegistry
from qmrunner.supervisor.log_forwarder import RECORD_BYTES, LogForwarder, Writer
from tests.support import wait_for

LABEL = "j1/xtb"
PREFIX = b"j1/xtb| "


class Tee:
    """A tailer that writes into a pipe; `read` turns the reader on."""

    def __init__(self, root: Path, *, reading: bool = True) -> None:
        self.root = root
        self.events = root / "events.jsonl"
        self.log = root / "xtb.1.log"
        self.received = bytearray()
        self.register = LogRegistry(root)
        self._out, self._into = os.pipe()
        self.tailer = LogForwarder(root, self.events, Writer(self._into))
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reading:
            self.read()

    def read(self) -> None:
        self._reader.start()

    def _read(self) -> None:
        while chunk := os.read(self._out, 1 << 16):
            self.received += chunk

    def add(self) -> None:
        self.register.add(LABEL, 1, self.log)

    def write(self, data: bytes) -> None:
        with open(self.log, "ab") as file:
            file.write(data)

    def forward(self) -> None:
        """Everything that is there now."""
        end = time.monotonic() + 8
        while self.tailer.run_once() and time.monotonic() < end:
            pass
        assert self.tailer._writer.flush(8)

    def lines(self, expected: int | None = None) -> list[bytes]:
        """Forwarded lines of the log, without their prefix."""

        def found() -> list[bytes]:
            return [line[len(PREFIX) :] for line in bytes(self.received).splitlines() if line.startswith(PREFIX)]

        if expected is not None:
            wait_for(lambda: len(found()) >= expected, 8.0, f"{expected} lines")
        return found()

    def settled(self) -> bytes:
        """What was received once nothing is in the pipe any more."""
        import fcntl
        import struct
        import termios

        def empty() -> bool:
            return struct.unpack("i", fcntl.ioctl(self._out, termios.FIONREAD, b"\0" * 4))[0] == 0

        wait_for(empty, 8.0)
        size = -1
        while size != len(self.received):
            size = len(self.received)
            threading.Event().wait(0.02)
        return bytes(self.received)

    def close(self) -> None:
        if not self._reader.is_alive():
            self._reader.start()
        self.tailer._writer.flush(5)
        os.close(self._into)
        self._reader.join(5)
        os.close(self._out)


@pytest.fixture
def tee(tmp_path: Path) -> Iterator[Tee]:
    opened = Tee(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[Tee]:
    """A tee whose reader does not read until it is asked to."""
    opened = Tee(tmp_path, reading=False)
    try:
        yield opened
    finally:
        opened.close()


def test_every_line_arrives_byte_for_byte(tee: Tee) -> None:
    text = bytes(range(32, 127)) + "\t Å ℏ 分子 ┌─┐".encode()
    sent = [f"line {i} ".encode() + text * (i % 5) for i in range(2000)]
    tee.add()
    for i in range(0, len(sent), 100):
        tee.write(b"".join(line + b"\n" for line in sent[i : i + 100]))
        tee.forward()
    raw = tee.settled().split(b"\n")
    assert [line.removeprefix(PREFIX) for line in raw if line] == sent


def test_what_would_move_a_terminal_arrives_written_out(tee: Tee) -> None:
    hostile = (
        "\x1b]0;title\x07 \x9b31m \u202e \u2028 \u0085 \u2066 \u061c \U000e0041 \rover \x7f".encode() + b"\x9b\xff"
    )
    tee.add()
    tee.write(hostile + b"\nplain\r\n")
    tee.forward()
    told = tee.lines(2)
    assert told == [
        rb"\x1b]0;title\x07 \x9b31m \u202e \u2028 \x85 \u2066 \u061c \U000e0041 \rover \x7f\x9b\xff",
        b"plain",
    ]


def test_the_name_before_each_line_moves_no_terminal_either(tee: Tee) -> None:
    tee.register.add("j1/a\x1b[31m\u202e\nb", 1, tee.log)
    tee.write(b"first\nsecond\n")
    tee.forward()
    label = rb"j1/a\x1b[31m\u202e\nb| "
    assert tee.settled() == label + b"first\n" + label + b"second\n"


def test_a_line_waits_for_its_end(tee: Tee) -> None:
    tee.add()
    tee.write(b"first\nsec")
    tee.forward()
    assert tee.lines(1) == [b"first"]
    tee.write(b"ond\nthi")
    tee.forward()
    assert tee.lines(2) == [b"first", b"second"]
    tee.register.finish(LABEL, 1)
    tee.forward()
    assert tee.lines(3) == [b"first", b"second", b"thi"]


def test_a_finished_log_is_forgotten(tee: Tee, tmp_path: Path) -> None:
    tee.add()
    tee.write(b"one\n")
    tee.register.finish(LABEL, 1)
    tee.forward()
    assert tee.lines(1) == [b"one"]
    tee.tailer.run_once()
    assert [path.name for path in (tmp_path / "tails").iterdir() if path.name.startswith("j1")] == []


def test_what_was_killed_in_the_middle_of_a_write_is_cleared_away(tee: Tee, tmp_path: Path) -> None:
    tee.write(b"one\n")
    tee.add()
    (entry,) = (tmp_path / "tails").glob("*~*")
    for begun in (entry.with_name(f".{entry.name}.new"), entry.with_name(f".{entry.name}.offset.new")):
        begun.write_text("{")
    (tmp_path / "tails" / ".j9~xtb~1.tail.new").write_text("{")  # of an attempt that no consumer adopts
    tee.register.finish_all_but(set())
    tee.forward()
    assert [path.name for path in (tmp_path / "tails").iterdir() if "~" in path.name] == []


def test_a_finished_log_that_was_deleted_is_forgotten(tee: Tee, tmp_path: Path) -> None:
    tee.add()
    tee.write(b"one\nhalf a li")
    tee.forward()
    tee.log.unlink()
    tee.register.finish(LABEL, 1)
    for _ in range(5):
        tee.tailer.run_once()
    assert [path.name for path in (tmp_path / "tails").iterdir() if path.name.startswith("j1")] == []


def test_a_long_line_is_cut_into_records_under_the_limit(tee: Tee) -> None:
    tee.add()
    tee.write(b"x" * 100_000 + b"\nshort\n")
    tee.forward()
    records = [line for line in tee.settled().split(b"\n") if line]
    assert max(map(len, records)) < 16_000
    assert RECORD_BYTES < 16_000
    assert b"".join(line.removeprefix(PREFIX) for line in records[:-1]) == b"x" * 100_000
    assert records[-1] == PREFIX + b"short"


def test_endless_output_without_a_newline_does_not_wait_for_one(tee: Tee) -> None:
    tee.add()
    for _ in range(8):
        tee.write(b"y" * 50_000)
        tee.forward()
    assert len(tee.settled().replace(PREFIX, b"").replace(b"\n", b"")) >= 350_000


def test_a_restarted_tailer_continues_where_the_last_one_stood(tmp_path: Path) -> None:
    first = Tee(tmp_path)
    first.add()
    first.write(b"".join(b"line %d\n" % i for i in range(1000)) + b"half")
    first.forward()
    assert len(first.lines(1000)) == 1000
    first.close()
    second = Tee(tmp_path)
    try:
        second.write(b" a line\nlast\n")
        second.forward()
        assert second.lines(2) == [b"half a line", b"last"]
    finally:
        second.close()


def test_events_of_before_the_first_start_are_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "old"}\n')
    tee = Tee(tmp_path)
    try:
        with open(tee.events, "a") as file:
            file.write('{"event": "new"}\n')
        tee.forward()
        assert tee.settled() == b'{"event": "new"}\n'
    finally:
        tee.close()


def test_events_written_without_a_tailer_are_forwarded_later(tmp_path: Path) -> None:
    first = Tee(tmp_path)
    first.events.write_text('{"event": 1}\n')
    first.forward()
    first.close()
    with open(first.events, "a") as file:
        file.write('{"event": 2}\n')
    second = Tee(tmp_path)
    try:
        second.forward()
        assert second.settled() == b'{"event": 2}\n'
    finally:
        second.close()


def test_events_and_lines_are_whole_records_however_they_interleave(tee: Tee) -> None:
    tee.add()
    done = threading.Event()

    def work(path: Path, line: bytes) -> None:
        for i in range(1500):
            with open(path, "ab") as file:
                file.write(line % i)
        done.set()

    threads = [
        threading.Thread(target=work, args=(tee.log, b"engine %d\n")),
        threading.Thread(target=work, args=(tee.events, b'{"event": %d}\n')),
    ]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        tee.tailer.run_once()
    tee.forward()
    lines = tee.settled().splitlines()
    assert [line for line in lines if line.startswith(b"{")] == [b'{"event": %d}' % i for i in range(1500)]
    assert [line for line in lines if not line.startswith(b"{")] == [PREFIX + b"engine %d" % i for i in range(1500)]


def test_a_log_that_was_cut_is_read_from_its_start(tee: Tee) -> None:
    tee.add()
    tee.write(b"old\n" * 10)
    tee.forward()
    os.truncate(tee.log, 0)
    tee.write(b"new\n")
    tee.forward()
    assert tee.lines(11) == [b"old"] * 10 + [b"new"]


def test_events_survive_rotation_by_rename(tee: Tee) -> None:
    tee.events.write_text('{"event": "before"}\n')
    tee.forward()
    with open(tee.events, "a") as file:
        file.write('{"event": "last of the old file"}\n')
    tee.events.rename(tee.events.with_suffix(".1"))
    tee.events.write_text("".join(f'{{"event": "after {i}"}}\n' for i in range(100)))
    tee.forward()
    lines = tee.settled().splitlines()
    assert lines[0] == b'{"event": "before"}'
    assert lines[-100:] == [b'{"event": "after %d"}' % i for i in range(100)]


def quickly(work: Callable[[], object]) -> None:
    began = time.monotonic()
    work()
    assert time.monotonic() - began < 1.0


def test_a_reader_that_is_stuck_blocks_no_writer(unread: Tee) -> None:
    unread.add()
    for _ in range(20):
        unread.write(b"z" * 99 + b"\n")
        unread.write((b"z" * 99 + b"\n") * 5000)
        quickly(unread.tailer.run_once)
    assert unread.received == b""


def test_what_a_stuck_reader_missed_is_announced_to_the_byte(unread: Tee) -> None:
    unread.add()
    sent = [b"%07d " % i + b"z" * 91 for i in range(200_000)]  # 20 MB
    for i in range(0, len(sent), 10_000):
        unread.write(b"".join(line + b"\n" for line in sent[i : i + 10_000]))
        unread.tailer.run_once()
    unread.read()
    unread.forward()
    unread.write(b"the end\n")
    unread.forward()
    text = unread.settled()
    assert text.endswith(PREFIX + b"the end\n")
    skipped = [int(hit) for hit in re.findall(rb"qmrunner: (\d+) bytes skipped here", text)]
    assert skipped
    assert str(unread.log).encode() in text
    forwarded = sum(
        len(line) - len(PREFIX)
        for line in text.splitlines(keepends=True)
        if line.startswith(PREFIX) and b"bytes skipped here" not in line
    )
    assert forwarded + sum(skipped) == unread.log.stat().st_size


def test_a_daemon_whose_stdout_is_closed_continues(tmp_path: Path) -> None:
    out, into = os.pipe()
    os.close(out)
    events = tmp_path / "events.jsonl"
    tailer = LogForwarder(tmp_path, events, Writer(into))
    for i in range(200):
        with open(events, "a") as file:
            file.write(f'{{"event": {i}}}\n' * 1000)
        quickly(tailer.run_once)
    wait_for(lambda: not tailer.run_once(), 5.0)
    os.close(into)


def test_a_running_tailer_forwards_within_its_poll_and_stops_in_time(tee: Tee) -> None:
    tee.tailer.start()
    tee.add()
    began = time.monotonic()
    tee.write(b"hello\n")
    tee.lines(1)
    assert time.monotonic() - began < 1.0
    tee.write(b"bye\n")
    tee.tailer.stop(2.0)
    assert tee.lines(2) == [b"hello", b"bye"]


def test_a_log_that_is_not_there_yet_is_waited_for(tee: Tee) -> None:
    tee.add()
    tee.tailer.run_once()
    tee.write(b"now\n")
    tee.forward()
    assert tee.lines(1) == [b"now"]


def test_garbage_in_the_register_is_harmless(tee: Tee, tmp_path: Path) -> None:
    (tmp_path / "tails" / "a~b~1.tail").write_text("{half")
    (tmp_path / "tails" / "c~d~1.tail.offset").write_text("x")
    (tmp_path / "tails" / "events.tail.offset").write_text("nonsense")
    tee.add()
    tee.write(b"fine\n")
    tee.forward()
    assert tee.lines(1) == [b"fine"]
