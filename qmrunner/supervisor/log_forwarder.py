"""Forwards every attempt's log and every event to stdout, without delaying engines or the daemon.

Engines write to regular files; the forwarder's thread reads them and passes records to a writer thread, the only one
that may block on stdout. While stdout is stuck the forwarder waits; when it is more than `_LAG_BYTES` behind it skips
ahead and prints how much it skipped. Offsets are kept on disk: a restarted supervisor continues from the last one.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.attempt import narration
from qmrunner.attempt.log_registry import TAILS
from qmrunner.host.atomic_write import unfinished, write_atomically
from qmrunner.host.threads import Guard
from qmrunner.model import visible
from qmrunner.supervisor.folder_watch import FolderWatch

RECORD_BYTES = 15_000  # docker's json-file driver splits at 16,384
_LAG_BYTES = 4 << 20
_KEEP_BYTES = 64 << 10
_EVENTS_BYTES = 64 << 20
_CHUNK_BYTES = 256 << 10
_FULL_PAUSE_S = 1.0
_POLL_S = 0.1  # while a log is forwarded, and at least between two looks
_IDLE_S = 5.0  # without a change of any file


@dataclass
class _Source:
    """One file being forwarded."""

    path: Path
    prefix: bytes
    offset: int = 0
    partial: bytes = b""
    entry: Path | None = None
    saved: int = field(default=-1)
    inode: int | None = None


class Writer:
    """The one thread that may block on stdout."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.Queue[bytes] = queue.Queue(maxsize=64)
        self._broken = False
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    def offer(self, data: bytes) -> bool:
        """Queue the bytes; False at once when the queue is full."""
        try:
            self._queue.put_nowait(data)
        except queue.Full:
            return self._broken
        return True

    def flush(self, deadline_s: float) -> bool:
        end = time.monotonic() + deadline_s
        while self._queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)
        return not self._queue.unfinished_tasks

    def _run(self) -> None:
        guard = Guard("stdout_failed")
        while True:
            data = self._queue.get()
            with guard:
                while data and not self._broken:
                    data = data[self._write(data) :]
            self._queue.task_done()

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                time.sleep(_FULL_PAUSE_S)  # stdout is a file on a full disk: wait, as for a stuck reader
            else:
                self._broken = True  # stdout is gone for good; the files have everything
            return 0


class LogForwarder:
    """Forwards the events file and all registered logs. `run_once` checks each of them once.

    `hosts`: outputs of app hosts, which are empty at its start.
    """

    def __init__(self, run_root: Path, events_file: Path, writer: Writer, hosts: Sequence[Path] = ()) -> None:
        self._folder = run_root / TAILS
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = writer
        self._events = _Source(events_file, b"", entry=self._folder / "events.tail")
        self._events.offset = self._saved_offset(self._events, default=_size(events_file))
        self._hosts = [_Source(path, f"{path.stem}| ".encode(), entry=self._folder / path.stem) for path in hosts]
        for path in hosts:
            path.unlink(missing_ok=True)
        self._sources: dict[str, _Source] = {}
        self._stop = threading.Event()
        self._watch = FolderWatch({self._folder, events_file.parent, *(path.parent for path in hosts)})
        self._thread = threading.Thread(target=self._run, name="tailer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, deadline_s: float) -> None:
        """Forward the remaining data, as far as stdout accepts it within the deadline."""
        self._stop.set()
        self._watch.wake()
        self._thread.join(deadline_s)
        end = time.monotonic() + deadline_s
        while self.run_once() and time.monotonic() < end:
            self._writer.flush(0.2)
        self._writer.flush(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        guard = Guard("tail_failed")
        while not self._stop.wait(_POLL_S):
            if not self._sources and not self._is_behind():
                self._watch.wait(_IDLE_S)
            try:
                while self.run_once() and not self._stop.is_set():
                    continue
            except OSError:
                continue  # the volume is full or gone: try again
            except Exception as problem:
                guard.report(problem)

    def _is_behind(self) -> bool:
        """Whether stdout has not accepted everything: then its reader is waited for, and not a change."""
        return any(_size(source.path) > source.offset for source in (self._events, *self._hosts))

    def run_once(self) -> bool:
        """Forward one chunk of each source. True when data was forwarded and there may be more."""
        moved = self._forward(self._events)
        self._rotate_events()
        for host in self._hosts:
            moved = self._forward(host) or moved
        for name in self._entries():
            source = self._source(name)
            if source is None:
                continue
            done = (self._folder / f"{name}.done").exists()
            moved = self._forward(source, last=done) or moved
            if done and source.offset >= _size(source.path) and not source.partial:
                self._forget(name)
        return moved

    def _rotate_events(self) -> None:
        """Keep one old file of events. Writers check the file name before each line."""
        events = self._events
        if events.offset > _EVENTS_BYTES and events.offset >= _size(events.path):
            os.replace(events.path, events.path.with_suffix(".1.jsonl"))
            events.offset, events.partial = 0, b""
            self._save_offset(events)

    def _entries(self) -> list[str]:
        return sorted(name for name in os.listdir(self._folder) if name.endswith(".tail") and "~" in name)

    def _source(self, name: str) -> _Source | None:
        if name not in self._sources:
            try:
                entry: dict[str, Any] = json.loads((self._folder / name).read_text())
            except (OSError, ValueError):
                return None
            source = _Source(
                Path(entry["log"]), f"{visible.line(entry['label'])}| ".encode(), entry=self._folder / name
            )
            source.offset = self._saved_offset(source, default=0)
            self._sources[name] = source
        return self._sources[name]

    def _forget(self, name: str) -> None:
        source = self._sources.pop(name, None)
        if source is not None and source.path.parent == self._folder.parent / narration.FOLDER:
            source.path.unlink(missing_ok=True)
        for suffix in ("", ".done", ".offset"):
            path = self._folder / f"{name}{suffix}"
            path.unlink(missing_ok=True)
            unfinished(path).unlink(missing_ok=True)

    def _forward(self, source: _Source, *, last: bool = False) -> bool:
        size, inode = _size_and_inode(source.path)
        if size < source.offset or (source.inode is not None and inode not in (None, source.inode)):
            source.offset, source.partial = 0, b""  # rotated or truncated: start at the beginning
        source.inode = inode
        if size - source.offset > _LAG_BYTES:
            self._skip(source, size)
        if size <= source.offset and not (last and source.partial):
            return False
        data = _read(source.path, source.offset, _CHUNK_BYTES)
        *lines, partial = (source.partial + data).split(b"\n")
        if (last and source.offset + len(data) >= size and partial) or len(partial) > RECORD_BYTES:
            lines, partial = [*lines, partial], b""
        if lines and not self._writer.offer(b"".join(_records(source.prefix, line) for line in lines)):
            return False
        source.offset += len(data)
        source.partial = partial
        self._save_offset(source)
        return bool(data)

    def _skip(self, source: _Source, size: int) -> None:
        target = size - _KEEP_BYTES
        skipped = target - source.offset + len(source.partial)
        note = visible.line(f"qmrunner: {skipped} bytes skipped here; they are in {source.path}").encode() + b"\n"
        if self._writer.offer(source.prefix + note):
            source.offset, source.partial = target, b""

    def _saved_offset(self, source: _Source, default: int) -> int:
        try:
            return int(Path(f"{source.entry}.offset").read_text())
        except (OSError, ValueError):
            return default

    def _save_offset(self, source: _Source) -> None:
        # The start of an unfinished line is read again after a restart.
        offset = source.offset - len(source.partial)
        if offset != source.saved:
            write_atomically(Path(f"{source.entry}.offset"), str(offset))
            source.saved = offset


def _records(prefix: bytes, line: bytes) -> bytes:
    """A line made safe for a terminal, in as many records as needed; no record ends within a character."""
    line = visible.log(line.rstrip(b"\r"))
    room = RECORD_BYTES - len(prefix)
    if len(line) <= room:
        return prefix + line + b"\n"
    records, begin = [], 0
    while begin < len(line):
        end = begin + visible.whole(line[begin : begin + room])
        records.append(prefix + line[begin:end] + b"\n")
        begin = end
    return b"".join(records)


def _size_and_inode(path: Path) -> tuple[int, int | None]:
    """Size and inode; 0 and None when it is not a regular file."""
    try:
        status = path.lstat()
    except OSError:
        return 0, None
    if not stat.S_ISREG(status.st_mode):
        return 0, None
    return status.st_size, status.st_ino


def _size(path: Path) -> int:
    return _size_and_inode(path)[0]


def _read(path: Path, offset: int, count: int) -> bytes:
    try:
        with untrusted.open_file(path) as file:
            file.seek(offset)
            return file.read(count)
    except OSError:
        return b""
