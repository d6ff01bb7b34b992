"""The processes that read and check submissions: one for each request, ended when it takes too long."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from anyio import CapacityLimiter, to_thread

from qmrunner import untrusted
from qmrunner.api.shares import Shares
from qmrunner.api.upload import bodies
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.model.jobs import Submission

_KINDS = frozenset({"nmr", "conformers", "nwchem", "xtb", "crest"})  # never `huey`, whose messages are code
_CHILDREN = 4
_SHARE = 2
_ANSWER_BYTES = 1 << 26
_LONGEST_WAIT_S = 60.0
_START_S = 30.0
# A check that takes long runs at low priority, after engines of this machine and after the next checks.
_QUICK_S = 1.0
_SLOW_NICE = 10
# Processes that read untrusted input get no secret of the server in their environment.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHON", "VIRTUAL_ENV")


class Checked(NamedTuple):
    """A checked job, the digest of everything that defines it, and what `submission.facts` reports if asked for."""

    made: Submission
    digest: str
    facts: dict[str, Any]


class Children:
    """A child may work for `seconds` on one input. A warm parent process forks the children, so that they start
    immediately."""

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self.places = Shares("checks", _CHILDREN, _SHARE, waiting=100)
        self._limiter = CapacityLimiter(_CHILDREN)
        self._lock = threading.Lock()
        self._parent: _Parent | None = None
        self._working: set[_Child] = set()
        self._closed = False

    async def check(self, folder: Path, **asked: Any) -> Checked:
        """The checked job of the body in `folder`; `asked` has the other fields that `sandbox_worker._answer` needs.

        The job's files are read into memory. Raises UsageError as `sandbox_worker.check` and `parsing.read` do, and
        `input_too_slow`, `input_crashed`; TooMany as `Shares.place` does; NotReadyError `busy`, `upload_failed`.
        """
        async with self.places.place(_LONGEST_WAIT_S):
            return await to_thread.run_sync(lambda: self.check_now(folder, asked), limiter=self._limiter)

    def check_now(self, folder: Path, asked: Mapping[str, Any]) -> Checked:
        """The same, in this thread."""
        try:
            return _checked(self._answer(folder, asked), folder)
        except (LookupError, TypeError, ValueError, OSError):
            raise _crashed() from None

    async def canonical(self, folder: Path, smiles: str, **asked: Any) -> str:
        """The structure of a search, see `submission.structure.canonical`. Raises as `check` does."""
        asked = {**asked, "smiles": smiles}
        async with self.places.place(_LONGEST_WAIT_S):
            answer = await to_thread.run_sync(lambda: self._answer(folder, asked), limiter=self._limiter)
        return str(answer.get("canonical", ""))

    def _answer(self, folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
        child = self._child()
        try:
            answer = child.ask({**asked, "folder": str(folder), "seconds": self.seconds}, self.seconds)
        finally:
            with self._lock:
                self._working.remove(child)
                child.end()
        if "failed" in answer:
            raise bodies.no_room(answer["failed"])
        error = answer.get("error")
        if isinstance(error, dict):
            error = {name: error.get(name) for name in ("code", "message", "evidence", "remedy")}
            raise UsageError(error["code"], error["message"], evidence=error["evidence"], remedy=error["remedy"])
        return answer

    def keep_warm(self) -> None:
        """Start the parent if none runs. It takes a second to load the chemistry packages."""
        with self._lock:
            if self._parent is not None and self._parent.ended:
                self._parent.end()
                self._parent = None
            if self._parent is None and not self._closed:
                self._parent = _Parent()

    def close(self) -> None:
        """End all these processes; a request that one of them works on is reported as crashed."""
        with self._lock:
            self._closed = True
            for child in self._working:
                child.kill()
            if self._parent is not None:
                self._parent.end()

    def _child(self) -> _Child:
        self.keep_warm()
        with self._lock:
            if self._closed or self._parent is None:
                raise _busy("the server is stopping")
            child = self._parent.child()
            self._working.add(child)
            return child


class _Parent:
    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
            environment["OPENBLAS_NUM_THREADS"] = "1"  # a process with threads cannot be forked safely
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "qmrunner.api.upload.sandbox_worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=environment,
            )  # fmt: skip

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def child(self) -> _Child:
        ours, theirs = Pipe()
        with theirs:
            try:
                socket.send_fds(self._orders, [b"."], [theirs.fileno()])
            except OSError:
                pass  # the parent has just ended: the closed connection reports it
        return _Child(ours)

    def end(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()


class _Child:
    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._pid: int | None = None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The child's answer. Raises UsageError `input_too_slow`, `input_crashed`; NotReadyError `busy`."""
        try:
            if not self._connection.poll(_START_S):
                raise _busy("the process that reads inputs did not start")
            self._pid = int(self._connection.recv_bytes(20))
            self._connection.send_bytes(json.dumps(request).encode())
            if not self._connection.poll(min(seconds, _QUICK_S)):
                self._lower(self._pid)
            if not self._connection.poll(max(0.0, seconds - _QUICK_S)):
                self.kill()
                raise _too_slow(seconds)
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes(_ANSWER_BYTES))
        except (EOFError, OSError, ValueError, RecursionError):
            if self._pid is None:
                raise _busy("the process that reads inputs could not be started") from None
            raise _crashed() from None
        if not isinstance(answer, dict):
            raise _crashed()
        return answer

    def kill(self) -> None:
        """May be called from any thread while the connection is open: the child holds its other end, so the child is
        alive."""
        if self._pid is not None:
            try:
                os.kill(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has just ended

    def end(self) -> None:
        self._connection.close()

    def _lower(self, pid: int) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, _SLOW_NICE)
        except ProcessLookupError:
            pass  # it has just ended, and its answer has arrived


def _checked(answer: Mapping[str, Any], folder: Path) -> Checked:
    """The job in the answer of a child. A fault in a library that reads structures could let an input answer in the
    child's place, so only what a request may ask for is taken. Raises LookupError, TypeError, ValueError, OSError."""
    kind, params, names = answer["kind"], dict(answer["params"]), list(answer["files"])
    if kind not in _KINDS or "unconfined" in params or not all(map(_is_plain, names)):
        raise ValueError
    files = {name: untrusted.read_bytes(folder / "made" / str(number)) for number, name in enumerate(names)}
    made = Submission(kind, {**params, "network": True}, files, requires=tuple(map(str, answer["requires"])))
    group = None if answer["group"] is None else str(answer["group"])
    name = None if answer["name"] is None else str(answer["name"])
    named = replace(made, name=name, priority=int(answer["priority"]), group=group)
    return Checked(named, str(answer["digest"]), answer.get("facts") or {})


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _crashed() -> UsageError:
    return UsageError(
        "input_crashed",
        "the process that reads inputs crashed on this input",
        remedy="export the structure again with another program",
    )


def _busy(evidence: str) -> NotReadyError:
    return NotReadyError(
        "busy", "this server cannot read inputs now", evidence=evidence, remedy="submit it again later"
    )


def _too_slow(seconds: float) -> UsageError:
    return UsageError(
        "input_too_slow",
        f"the input could not be read within {seconds:g} s",
        remedy="submit a smaller molecule, or a MOL or SDF file with bonds instead of an XYZ",
    )
