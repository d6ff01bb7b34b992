"""One attempt as a consumer sees it: prepare, hand to a guardian, follow, and make an outcome of what is left.

Nothing here touches the store; `consumer` commits what comes out.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qmrunner.engines.base import Context, Engine, Installed
from qmrunner.errors import QmrunnerError
from qmrunner.logs import get as get_logger
from qmrunner.model.jobs import OPTIONAL, Command, Evidence, Exit, Grant, Job, Outcome, Step
from qmrunner.model.space import hard_mark_mib
from qmrunner.queue import connect_short
from qmrunner.runtime import guardian, hangs, machine, spawner
from qmrunner.runtime.environment import compose
from qmrunner.runtime.feed import Feed
from qmrunner.runtime.folders import AttemptFolder, write_atomically
from qmrunner.settings import Settings

SNAPSHOTS = "checkpoint"  # below the work folder; engines look there when they resume
_PROGRESS_EVERY_S = 0.5
_PREALLOCATED_LOG_BYTES = 4 << 20


@dataclass
class Live:
    """One attempt in the hands of this consumer. `stop` may be called from any thread."""

    job: Job
    step: Step
    number: int
    grant: Grant
    folder: AttemptFolder
    log: Path
    marker: str
    engine_pid: int | None = None
    content_key: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    dirty: bool = False
    stop_request: tuple[str, float] | None = None
    quota_told: bool = True
    since: float = field(default_factory=time.time)
    bell: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    @property
    def label(self) -> str:
        return f"{self.job.id}/{self.step.name}"

    def stop(self, reason: str, grace_s: float) -> None:
        self.stop_request = (reason, grace_s)
        os.eventfd_write(self.bell, 1)

    def allow(self, scratch_mib: int) -> None:
        """Its reservation has grown: let the guardian know."""
        self.grant = replace(self.grant, scratch_mib=scratch_mib)
        self.quota_told = False
        os.eventfd_write(self.bell, 1)

    def close(self) -> None:
        os.close(self.bell)


class SpawnerClient:
    """Asks the spawner of this home for guardians."""

    def __init__(self, run_root: Path) -> None:
        self._run_root = run_root

    def guard(self, directory: Path) -> int:
        """The pid of a new guardian for this directory. Raises OSError when there is no spawner."""
        return int(self._ask({"op": "guard", "directory": str(directory)})["pid"])

    def settle(self) -> bool:
        """True once no process is left that belonged to a dead guardian."""
        return bool(self._ask({"op": "settle"}).get("ok"))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as client:
            client.settimeout(30.0)
            connect_short(client, self._run_root, spawner.SOCKET)
            client.send(json.dumps(request).encode())
            reply = client.recv(65536)
        if not reply:
            raise ConnectionError("the spawner closed the connection")
        answer: dict[str, Any] = json.loads(reply)
        return answer


def prepare(live: Live, engine: Engine, installed: Installed, settings: Settings) -> Command:
    """Fill the attempt directory and write the guardian's order. Raises QmrunnerError or OSError."""
    work = live.folder.work
    work.mkdir(parents=True)
    context = Context(
        directory=work,
        inputs=inputs_of(live.step, settings.jobs_root / live.job.id),
        grant=live.grant,
        installed=installed,
        previous=_previous(live, engine),
    )
    command = engine.prepare(live.step, context)
    if warning := machine.stack_note():
        command = replace(command, notes=(*command.notes, warning))
    _lay_out(work, command)
    environment = compose(os.environ, command.env, work, live.marker)
    _write_order(live, command, environment.variables, settings)
    return replace(command, notes=(*command.notes, *environment.notes()))


def inputs_of(step: Step, job_folder: Path, *, optional: bool = True) -> dict[str, Path]:
    """The step's input files by name, those that may be missing only with `optional`. Raises QmrunnerError."""
    found = {}
    for name, relative in step.inputs.items():
        path = job_folder / relative.removeprefix(OPTIONAL)
        if path.is_file() and (optional or not relative.startswith(OPTIONAL)):
            found[name] = path
        elif not relative.startswith(OPTIONAL):
            raise QmrunnerError(
                "input_missing",
                f"the input {name!r} of step {step.name} is not there",
                evidence=str(path),
                remedy="files of this job were removed by hand; submit it again",
            )
    return found


def _previous(live: Live, engine: Engine) -> Path | None:
    """The work folder of the newest earlier attempt from which this one can go on."""
    for number in range(live.number - 1, 0, -1):
        work = AttemptFolder(live.folder.path.parent / str(number)).work
        if work.is_dir() and engine.checkpoint(work):
            return work
    return None


def _lay_out(work: Path, command: Command) -> None:
    for name, source in command.copies.items():
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for name, text in command.files.items():
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    temporary = command.env.get("TMPDIR")
    if temporary and work in Path(temporary).parents:
        Path(temporary).mkdir(parents=True, exist_ok=True)


def _write_order(live: Live, command: Command, environment: Mapping[str, str], settings: Settings) -> None:
    live.log.parent.mkdir(parents=True, exist_ok=True)
    order = guardian.Order(
        argv=list(command.argv),
        env=dict(environment),
        cwd=str(live.folder.work),
        log=str(live.log),
        marker=live.marker,
        grace_s=engine_grace_s(settings),
        adoption_s=settings.adoption_seconds,
        preallocate_bytes=_PREALLOCATED_LOG_BYTES,
        scratch_quota_mib=live.grant.scratch_mib,
        file_limit_bytes=_file_limit_bytes(live, settings),
    )
    write_atomically(live.folder.path / guardian.COMMAND, json.dumps(asdict(order)))


def _file_limit_bytes(live: Live, settings: Settings) -> int:
    """What is free of the scratch volume now. None for what uses shared memory: its segments are files, too."""
    found = machine.volume(live.folder.path) if live.grant.shm_mib == 0 else None
    if found is None:
        return 0
    hard = hard_mark_mib(found.total_mib, settings.scratch_hard_mib, settings.scratch_soft_mib)
    return max(1, found.free_mib - hard) * 2**20


def engine_grace_s(settings: Settings) -> float:
    """From TERM to KILL for an engine, so that committing and exiting still fit into the stop grace."""
    return settings.stop_grace_seconds * 0.4


class Follower:
    """Watches one guardian until it is gone: reads progress, passes stop requests on, looks out for hangs."""

    def __init__(self, live: Live, engine: Engine, watch: hangs.HangWatch) -> None:
        self._live = live
        self._engine = engine
        self._watch = watch
        self._look: dict[str, Any] | None = None  # the guardian's newest, not judged yet
        self._feed = Feed(live, engine.reader(live.step))
        self._client: socket.socket | None = None
        self._buffer = b""
        self._save_due = False

    def connect(self, deadline_s: float = 10.0) -> bool:
        """Reach the guardian; False when there is none (any more)."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                connect_short(client, self._live.folder.path, guardian.SOCKET)
            except OSError:
                client.close()
                if self._live.folder.exit_record() is not None:
                    return False
                time.sleep(0.003)  # it has just been forked and binds within milliseconds
                if time.monotonic() - end + deadline_s > 1.0 and not self._live.folder.guardian_lives():
                    return False
                continue
            self._client = client
            return self._await_hello()
        return False

    def _await_hello(self) -> bool:
        assert self._client is not None
        self._client.settimeout(10.0)
        try:
            while self._live.engine_pid is None:
                data = self._client.recv(65536)
                if not data:
                    break
                self._take(data)
        except OSError:
            pass  # it ended; what counts is its exit record
        return self._live.engine_pid is not None

    def follow(self, started: Callable[[], bool]) -> None:
        """Until the guardian closes the connection. `started` is called once; False from it stops the attempt."""
        client = self._client
        assert client is not None
        client.setblocking(False)
        try:
            if not started():
                self._live.stop("fenced", 0.0)
            poller = select.poll()
            poller.register(client, select.POLLIN)
            poller.register(self._live.bell, select.POLLIN)
            asked: tuple[str, float] | None = None
            while True:
                poller.poll(_PROGRESS_EVERY_S * 1000)
                asked = self._pass_on(asked)
                self._pass_on_quota()
                try:
                    data = client.recv(65536)
                except BlockingIOError:
                    data = None
                except OSError:
                    return
                if data == b"":
                    return
                if data:
                    self._take(data)
                self.read_progress()
                self._save()
                self._watch_for_hangs()
        finally:
            client.close()

    def _save(self) -> None:
        if not self._save_due:
            return
        self._save_due = False
        try:
            take_snapshot(self._live.folder.work, self._engine)
        except OSError as problem:
            # The engine may have replaced a file meanwhile, or the disk is full; the last snapshot stands.
            get_logger().warning(
                "snapshot_failed", job=self._live.job.id, step=self._live.step.name, error=str(problem)
            )

    def _pass_on(self, asked: tuple[str, float] | None) -> tuple[str, float] | None:
        wanted = self._live.stop_request
        if wanted is None or wanted == asked:
            return asked
        try:
            os.eventfd_read(self._live.bell)
        except BlockingIOError:
            pass  # asked before the bell could be heard
        assert self._client is not None
        message = {"op": "stop", "reason": wanted[0], "grace_s": wanted[1]}
        try:
            self._client.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return asked  # it is ending anyway
        return wanted

    def _pass_on_quota(self) -> None:
        if self._live.quota_told:
            return
        try:
            os.eventfd_read(self._live.bell)
        except BlockingIOError:
            pass  # heard already
        self._live.quota_told = True
        assert self._client is not None
        message = {"op": "quota", "scratch_mib": self._live.grant.scratch_mib}
        try:
            self._client.send(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # it is ending anyway

    def _take(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "engine_pid" in message:
                self._live.engine_pid = message["engine_pid"]
            if "usage" in message:
                self._live.usage = message["usage"]
            if "tree" in message:
                self._look = message

    def _watch_for_hangs(self) -> None:
        look, self._look = self._look, None
        signs = self._feed.signs()
        if look is not None and signs is not None:
            self._watch.look(hangs.observation(look, **signs))

    def read_progress(self) -> None:
        """Feed new output to the engine's reader."""
        self._save_due = self._feed.read() or self._save_due


def take_snapshot(work: Path, engine: Engine) -> None:
    """Copy the engine's checkpoint files aside, whole or not at all. The two newest are kept. Raises OSError."""
    names = engine.checkpoint(work)
    if not names:
        return
    folder = work / SNAPSHOTS
    folder.mkdir(exist_ok=True)
    taken = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    number = taken[-1] + 1 if taken else 1
    fresh = folder / f".{number}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name in names:
        shutil.copyfile(work / name, fresh / name)
    os.rename(fresh, folder / str(number))
    for old in taken[:-1]:
        shutil.rmtree(folder / str(old), ignore_errors=True)


def read_exit(record: dict[str, Any]) -> Exit:
    """From a guardian's exit record."""
    known: dict[str, Any] = {name: record.get(name) for name in Exit.__slots__ if name in record}
    return Exit(**known)


def outcome_of(live: Live, engine: Engine, exit: Exit) -> Outcome:
    """What the engine makes of its directory; a fault in our own reading is an outcome too, never a crash."""
    try:
        outcome = engine.interpret(live.step, live.folder.work, live.log, exit)
    except Exception as error:
        get_logger().exception("interpretation_failed", job=live.job.id, step=live.step.name, attempt=live.number)
        return Outcome(
            state="failed",
            code="internal_error",
            failure_class="permanent",
            evidence=Evidence(repr(error)),
            summary="qmrunner could not read what the engine left",
            remedy=f"report this; the raw output is in {live.log}",
        )
    if outcome.state != "succeeded" and exit.stop_reason == "hung":
        return hangs.outcome(live, outcome)
    if outcome.state == "failed" and exit.stop_reason is not None:
        return Outcome(state="stopped", code="stopped", evidence=outcome.evidence)
    return outcome


def outcome_of_problem(problem: Exception) -> Outcome:
    """The outcome of an attempt that could not even be started."""
    if isinstance(problem, QmrunnerError):
        return Outcome(
            state="failed",
            code=problem.code,
            failure_class="operator",
            evidence=Evidence(problem.evidence) if problem.evidence else None,
            summary=problem.message,
            remedy=problem.remedy,
        )
    if isinstance(problem, OSError):
        return Outcome(
            state="failed",
            code="scratch_full" if problem.errno == 28 else "directory_not_accessible",
            failure_class="transient",
            evidence=Evidence(str(problem)),
            summary="the attempt's directory could not be prepared",
            remedy="free space on, or give access to, the scratch volume; see `qmrunner status`",
        )
    get_logger().error("preparation_failed", error=repr(problem))
    return Outcome(
        state="failed",
        code="internal_error",
        failure_class="permanent",
        evidence=Evidence(repr(problem)),
        summary="qmrunner could not prepare this step",
        remedy="report this with the evidence line",
    )


class LiveSet:
    """The attempts in hand, shared by the worker threads, the beat and the drain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[tuple[int, int], Live] = {}

    def add(self, live: Live) -> None:
        with self._lock:
            self._live[(live.step.id, live.number)] = live

    def remove(self, live: Live) -> None:
        with self._lock:
            self._live.pop((live.step.id, live.number), None)
        live.close()

    def all(self) -> list[Live]:
        with self._lock:
            return list(self._live.values())

    def stop(self, live: Live, reason: str, grace_s: float) -> None:
        """Ask for the end of an attempt, unless it has ended already."""
        with self._lock:
            if (live.step.id, live.number) in self._live and live.stop_request is None:
                live.stop(reason, grace_s)
