"""Checkpoints for other machines: the newest one while an attempt runs, the last one and the log at its end.

A separate thread sends checkpoints, so neither engine nor heartbeat waits for the artifact store. The rows that name
them change only while the attempt holds its fence. Without an artifact store this thread is not started.
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
from qmrunner.attempt.active import ActiveAttempt, ActiveAttempts, log_fields
from qmrunner.attempt.directory import WORK, AttemptDirectory
from qmrunner.engines.base import Engine
from qmrunner.errors import QmrunnerError
from qmrunner.host.threads import keep, try_to_start
from qmrunner.store import artifacts as rows

_CHECK_EVERY_S = 1.0
_COST_SHARE = 0.01  # at most this share of a step's time is spent on sending its checkpoints
_LAST_SHARE = 0.25  # of the stop grace: time to send an ended attempt's last checkpoint
_LOG_BYTES = 64 << 20  # only the end of a longer log is sent
_PRIVATE = "sending"
_IDLE_S = 10.0  # until the next check when nothing was new
_UNREADABLE_S = 5.0

Signature = tuple[tuple[str, int, int], ...]  # name, size, mtime in ns


@dataclass
class _Sent:
    """The state of sending one attempt's checkpoints."""

    at: float  # monotonic time of the last send; before the first: when the attempt was first seen
    cost_s: float = 0.0
    signature: Signature = ()
    contents: dict[str, Stored] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Checkpoints:
    """Sends the checkpoints of all attempts of one consumer."""

    def __init__(self, app: App, artifacts: Artifacts, active: ActiveAttempts, leaving: threading.Event) -> None:
        self._app = app
        self._artifacts = artifacts
        self._active = active
        self._leaving = leaving
        self._sent: dict[tuple[int, int], _Sent] = {}

    def start(self) -> None:
        keep("handover", "handover_failed", self._turn, self._leaving)

    def _turn(self) -> None:
        if self._leaving.wait(_CHECK_EVERY_S):
            return
        running = {(attempt.step.id, attempt.number): attempt for attempt in self._active.all()}
        for gone in set(self._sent) - set(running):
            self._sent.pop(gone, None)
        for attempt in running.values():
            if self._due(attempt):
                self._try_send(attempt, last=False)

    def _due(self, attempt: ActiveAttempt) -> bool:
        sent = self._of(attempt)
        least_s = max(self._app.settings.checkpoint_seconds, sent.cost_s / _COST_SHARE)
        return time.monotonic() - sent.at >= least_s and self._artifacts.answers()

    def _of(self, attempt: ActiveAttempt) -> _Sent:
        return self._sent.setdefault((attempt.step.id, attempt.number), _Sent(time.monotonic()))

    def _check_again_in(self, sent: _Sent, seconds: float) -> None:
        sent.at = time.monotonic() - max(0.0, self._app.settings.checkpoint_seconds - seconds)

    # -- at the end -------------------------------------------------------------------------------------------------

    def send_last(self, attempt: ActiveAttempt) -> None:
        """Send an unsuccessful attempt's last checkpoint and log, before its commit; limited to part of the stop grace.

        A send that finishes later has no effect: the commit has taken the fence.
        """
        if not self._artifacts.answers():
            return
        done = threading.Event()

        def send() -> None:
            self._try_send(attempt, last=True)
            done.set()

        patience_s = self._app.settings.stop_grace_seconds * _LAST_SHARE
        if not try_to_start(f"leave-{attempt.label}", send) or not done.wait(patience_s):
            logs.get().warning(
                "handover_given_up", **log_fields(attempt), remedy="the checkpoint sent before it stays valid"
            )

    # -- sending ----------------------------------------------------------------------------------------------------

    def _try_send(self, attempt: ActiveAttempt, *, last: bool) -> None:
        try:
            self._send(attempt, last=last)
        except ArtifactsUnavailable:
            pass  # logged once, as `artifacts_lost`; the next check tries again
        except (QmrunnerError, OSError) as problem:
            # The snapshot was replaced while it was read, or the store does not answer.
            self._check_again_in(self._of(attempt), _UNREADABLE_S)
            logs.get().warning("checkpoint_not_sent", **log_fields(attempt), error=str(problem))
        except Exception as problem:
            logs.get().error("internal_error", **log_fields(attempt), error=repr(problem), exc_info=problem)

    def _send(self, attempt: ActiveAttempt, *, last: bool) -> None:
        sent = self._of(attempt)
        with sent.lock:
            began = time.monotonic()
            with _files(attempt, self._app.engine(attempt.step.engine), last=last) as files_to_send:
                signature = _signature(files_to_send)
                if not last and (not files_to_send or signature == sent.signature):
                    self._check_again_in(sent, _IDLE_S)
                    return
                prefix = f"{attempt.step.name}/{attempt.number}"
                known = {stored.sha256 for stored in sent.contents.values()}
                contents = self._artifacts.put(
                    {f"{prefix}/{name}": path for name, path in files_to_send.items()}, known
                )
            log = self._log(attempt) if last else {}
            with self._app.store.write() as connection:
                if not rows.holds_fence(connection, attempt.step.id, attempt.number):
                    return
                job, step, number = attempt.job.id, attempt.step.name, attempt.number
                if contents:
                    rows.forget(connection, job, rows.CHECKPOINT, step)
                    files = rows.rows_of(job, rows.CHECKPOINT, step, number, contents)
                    rows.add(connection, self._app.store.now(), files)
                rows.add(connection, self._app.store.now(), rows.rows_of(job, rows.LOG, step, number, log))
            sent.at, sent.cost_s = time.monotonic(), time.monotonic() - began
            sent.signature, sent.contents = signature, contents
            size = sum({stored.sha256: stored.bytes for stored in contents.values()}.values())
            logs.get().info(
                "checkpoint_sent", **log_fields(attempt), files=len(contents), bytes=size, seconds=round(sent.cost_s, 3)
            )

    def _log(self, attempt: ActiveAttempt) -> dict[str, Stored]:
        """The raw output, compressed."""
        packed = attempt.directory.path / f"{attempt.step.name}.{attempt.number}.log.gz"
        try:
            with (
                untrusted.open_file(attempt.log) as log,
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
            return {}  # the engine never started, or replaced its log with something else
        finally:
            packed.unlink(missing_ok=True)


def fetch_checkpoint(artifacts: Artifacts, attempt: ActiveAttempt, engine: Engine) -> int | None:
    """Fetch the last checkpoint that was sent, into the folder of the attempt that sent it, unless this machine has one
    of that or a later attempt. Returns that attempt's number; None when there is none, or when it is not needed.

    Skips files that are missing or damaged: the engine resumes from the others. Raises ArtifactsUnavailable, and
    OSError when it cannot be written here.
    """
    files = artifacts.files(attempt.job.id, rows.CHECKPOINT, step=attempt.step.name)
    if not files:
        return None
    sender = files[0].attempt
    attempts = attempt.directory.path.parent
    here = [int(name) for name in _names(attempts) if name.isdigit() and int(name) < attempt.number]
    if any(number >= sender and engine.checkpoint(attempts / str(number) / WORK) for number in here):
        return None
    lacking = artifacts.bring(files, attempts.parent)
    logs.get().info(
        "checkpoint_brought", **log_fields(attempt), sender=sender, files=len(files), lacking=len(lacking) or None
    )
    return sender


@contextmanager
def _files(attempt: ActiveAttempt, engine: Engine, *, last: bool) -> Iterator[dict[str, Path]]:
    """Path in the attempt's folder → file to send, valid within the block. Raises OSError when a file changes.

    The newest snapshot, under its own name and in place of the working files: a later attempt finds the folder as if
    this attempt had ended right after it. For an ended attempt the working files; an engine checks all before use.
    """
    work = attempt.directory.work
    newest = _newest_snapshot(attempt.directory)
    kept = [path for path in newest.iterdir() if untrusted.objection(path) is None] if newest else []
    snapshot = {str(path.relative_to(attempt.directory.path)): path for path in kept}
    names = _sendable(work, engine.checkpoint(work)) if work.is_dir() else ()
    if last:
        yield {**snapshot, **{f"{WORK}/{name}": work / name for name in names}}
    elif newest:
        yield {**snapshot, **{f"{WORK}/{path.name}": path for path in kept}}
    else:
        private = attempt.directory.path / _PRIVATE
        try:
            yield _copies(work, names, private)
        finally:
            shutil.rmtree(private, ignore_errors=True)


def _sendable(work: Path, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if untrusted.objection(work / name) is None)


def _copies(work: Path, names: tuple[str, ...], private: Path) -> dict[str, Path]:
    """Copies of the working files: the engine keeps writing while they are sent."""
    copies = {}
    for name in names:
        target = private / name
        target.parent.mkdir(parents=True, exist_ok=True)
        untrusted.copy(work / name, target)
        status = os.stat(work / name)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        copies[f"{WORK}/{name}"] = target
    return copies


def _newest_snapshot(attempt: AttemptDirectory) -> Path | None:
    numbers = [int(name) for name in _names(attempt.snapshots) if name.isdigit()]
    return attempt.snapshots / str(max(numbers)) if numbers else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _signature(files: dict[str, Path]) -> Signature:
    entries = []
    for name, path in sorted(files.items()):
        status = path.stat()
        entries.append((name, status.st_size, status.st_mtime_ns))
    return tuple(entries)
