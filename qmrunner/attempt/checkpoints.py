"""What an attempt leaves to other machines: its newest checkpoint while it runs, at its end the last one and its log.

A thread of the consumer's own sends checkpoints, so neither engine nor beat ever waits for the artifact store. The rows
that name them change only while the attempt holds its fence. Without an artifact store nothing of this is started.
"""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qmrunner import logs, untrusted
from qmrunner.app import App
from qmrunner.artifacts.blobs import ArtifactsUnavailable, Stored
from qmrunner.artifacts.files import Artifacts
from qmrunner.attempt.active import Live, LiveSet, who
from qmrunner.attempt.directory import WORK, AttemptFolder
from qmrunner.engines.base import Engine
from qmrunner.errors import QmrunnerError
from qmrunner.host.threads import keep, try_to_start
from qmrunner.store import artifacts as rows

_LOOK_EVERY_S = 1.0
_COST_SHARE = 0.01  # of a step's time may go into sending its checkpoints
_LAST_SHARE = 0.25  # of the stop grace, for what an ended attempt leaves
_LOG_BYTES = 64 << 20  # of a longer log its end
_PRIVATE = "sending"
_IDLE_S = 10.0  # to the next look where there was nothing new
_UNREADABLE_S = 5.0

Signature = tuple[tuple[str, int, int], ...]  # name, size, mtime in ns


@dataclass
class _Sent:
    """What was sent of one attempt's checkpoints."""

    at: float  # monotonic; before the first one: since when it is watched
    cost_s: float = 0.0
    signature: Signature = ()
    contents: dict[str, Stored] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handover:
    """For all attempts of one consumer."""

    def __init__(self, app: App, artifacts: Artifacts, live: LiveSet, leaving: threading.Event) -> None:
        self._app = app
        self._artifacts = artifacts
        self._live = live
        self._leaving = leaving
        self._sent: dict[tuple[int, int], _Sent] = {}

    def start(self) -> None:
        keep("handover", "handover_failed", self._turn, self._leaving)

    def _turn(self) -> None:
        if self._leaving.wait(_LOOK_EVERY_S):
            return
        running = {(live.step.id, live.number): live for live in self._live.all()}
        for gone in set(self._sent) - set(running):
            self._sent.pop(gone, None)
        for live in running.values():
            if self._due(live):
                self._told(live, last=False)

    def _due(self, live: Live) -> bool:
        sent = self._of(live)
        least_s = max(self._app.settings.checkpoint_seconds, sent.cost_s / _COST_SHARE)
        return time.monotonic() - sent.at >= least_s and self._artifacts.answers()

    def _of(self, live: Live) -> _Sent:
        return self._sent.setdefault((live.step.id, live.number), _Sent(time.monotonic()))

    def _look_again(self, sent: _Sent, seconds: float) -> None:
        sent.at = time.monotonic() - max(0.0, self._app.settings.checkpoint_seconds - seconds)

    # -- at the end -------------------------------------------------------------------------------------------------

    def leave(self, live: Live) -> None:
        """Send what an unsuccessful attempt leaves, before its commit; given up after a part of the stop grace.

        What is still on its way then changes nothing any more: the commit takes the fence.
        """
        if not self._artifacts.answers():
            return
        done = threading.Event()

        def send() -> None:
            self._told(live, last=True)
            done.set()

        patience_s = self._app.settings.stop_grace_seconds * _LAST_SHARE
        if not try_to_start(f"leave-{live.label}", send) or not done.wait(patience_s):
            logs.get().warning("handover_given_up", **who(live), remedy="the checkpoint sent before it stands")

    # -- sending ----------------------------------------------------------------------------------------------------

    def _told(self, live: Live, *, last: bool) -> None:
        try:
            self._send(live, last=last)
        except ArtifactsUnavailable:
            pass  # told once for all, as `artifacts_lost`; the next look tries again
        except (QmrunnerError, OSError) as problem:
            # A snapshot that was replaced while it was read, or a store that does not answer.
            self._look_again(self._of(live), _UNREADABLE_S)
            logs.get().warning("checkpoint_not_sent", **who(live), error=str(problem))
        except Exception as problem:
            logs.get().error("internal_error", **who(live), error=repr(problem), exc_info=problem)

    def _send(self, live: Live, *, last: bool) -> None:
        sent = self._of(live)
        with sent.lock:
            began = time.monotonic()
            with _files(live, self._app.engine(live.step.engine), last=last) as found:
                signature = _signature(found)
                if not last and (not found or signature == sent.signature):
                    self._look_again(sent, _IDLE_S)
                    return
                beginning = f"{live.step.name}/{live.number}"
                there = {one.sha256 for one in sent.contents.values()}
                contents = self._artifacts.put({f"{beginning}/{name}": path for name, path in found.items()}, there)
            log = self._log(live) if last else {}
            with self._app.store.write() as connection:
                if not rows.holds_fence(connection, live.step.id, live.number):
                    return
                job, step, number = live.job.id, live.step.name, live.number
                if contents:
                    rows.forget(connection, job, rows.CHECKPOINT, step)
                    files = rows.rows_of(job, rows.CHECKPOINT, step, number, contents)
                    rows.add(connection, self._app.store.now(), files)
                rows.add(connection, self._app.store.now(), rows.rows_of(job, rows.LOG, step, number, log))
            sent.at, sent.cost_s = time.monotonic(), time.monotonic() - began
            sent.signature, sent.contents = signature, contents
            size = sum({one.sha256: one.bytes for one in contents.values()}.values())
            logs.get().info(
                "checkpoint_sent", **who(live), files=len(contents), bytes=size, seconds=round(sent.cost_s, 3)
            )

    def _log(self, live: Live) -> dict[str, Stored]:
        """The raw output, packed."""
        packed = live.folder.path / f"{live.step.name}.{live.number}.log.gz"
        try:
            with (
                untrusted.open_file(live.log) as log,
                untrusted.create(packed) as file,
                gzip.open(file, "wb", compresslevel=3) as out,
            ):
                size = os.fstat(log.fileno()).st_size
                if size > _LOG_BYTES:
                    out.write(f"[the first {size - _LOG_BYTES} bytes are on the machine that ran this]\n".encode())
                    log.seek(size - _LOG_BYTES)
                shutil.copyfileobj(log, out, 1 << 20)
            return self._artifacts.put({packed.name: packed})
        except (FileNotFoundError, untrusted.Refused):
            return {}  # it never started, or left something else in its place
        finally:
            packed.unlink(missing_ok=True)


def bring_checkpoint(artifacts: Artifacts, live: Live, engine: Engine) -> int | None:
    """The last checkpoint that was sent, as the folder of the attempt that sent it, unless a later one of this machine
    left something. Returns that attempt's number; None where there is none, or where it is here anyway.

    What is missing or damaged of it stays away: the engine goes on from what is left. Raises ArtifactsUnavailable, and
    OSError when it cannot be written here.
    """
    files = artifacts.files(live.job.id, rows.CHECKPOINT, step=live.step.name)
    if not files:
        return None
    sender = files[0].attempt
    attempts = live.folder.path.parent
    here = [int(name) for name in _names(attempts) if name.isdigit() and int(name) < live.number]
    if any(number >= sender and engine.checkpoint(attempts / str(number) / WORK) for number in here):
        return None
    lacking = artifacts.bring(files, attempts.parent)
    logs.get().info("checkpoint_brought", **who(live), sender=sender, files=len(files), lacking=len(lacking) or None)
    return sender


@contextmanager
def _files(live: Live, engine: Engine, *, last: bool) -> Iterator[dict[str, Path]]:
    """Path in the attempt's folder → file to send, for as long as the block lasts. Raises OSError when they change.

    The newest snapshot, under its own name and in place of the live files: a later attempt finds the folder as if this
    one had ended right after it. Of an ended attempt the live files themselves; an engine checks all before use.
    """
    work = live.folder.work
    newest = _newest_snapshot(live.folder)
    kept = [path for path in newest.iterdir() if untrusted.objection(path) is None] if newest else []
    found = {str(path.relative_to(live.folder.path)): path for path in kept}
    names = _sendable(work, engine.checkpoint(work)) if work.is_dir() else ()
    if last:
        yield {**found, **{f"{WORK}/{name}": work / name for name in names}}
    elif newest:
        yield {**found, **{f"{WORK}/{path.name}": path for path in kept}}
    else:
        private = live.folder.path / _PRIVATE
        try:
            yield _copies(work, names, private)
        finally:
            shutil.rmtree(private, ignore_errors=True)


def _sendable(work: Path, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if untrusted.objection(work / name) is None)


def _copies(work: Path, names: tuple[str, ...], private: Path) -> dict[str, Path]:
    """Live files as they are now: the engine goes on writing while they are sent."""
    found = {}
    for name in names:
        target = private / name
        target.parent.mkdir(parents=True, exist_ok=True)
        untrusted.copy(work / name, target)
        status = os.stat(work / name)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        found[f"{WORK}/{name}"] = target
    return found


def _newest_snapshot(attempt: AttemptFolder) -> Path | None:
    numbers = [int(name) for name in _names(attempt.snapshots) if name.isdigit()]
    return attempt.snapshots / str(max(numbers)) if numbers else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _signature(found: dict[str, Path]) -> Signature:
    seen = []
    for name, path in sorted(found.items()):
        status = path.stat()
        seen.append((name, status.st_size, status.st_mtime_ns))
    return tuple(seen)
