"""The supervisor, `qmrunner run`: no job code. Keeps the spawner and the consumer running, forwards logs, reaps.

Correct as PID 1 and below an init: it is a child subreaper, and reaps only what it does not own itself (a blanket
`waitpid(-1)` beside `subprocess` turns exit codes into 0: measured).
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from qmrunner import __version__, logs
from qmrunner.app import App
from qmrunner.artifacts.blobs import ArtifactsUnavailable
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import process_tree, spawner
from qmrunner.host import capacity as host_capacity
from qmrunner.host.home import STATE_FILE, SUPERVISOR_FILE, HomeLock, write_state
from qmrunner.host.sockets import bind_short
from qmrunner.host.threads import Guard, try_to_start
from qmrunner.store import workers
from qmrunner.supervisor.child import ChildProcess, last_words
from qmrunner.supervisor.log_forwarder import Tailer, Writer
from qmrunner.supervisor.orphans import Orphans
from qmrunner.supervisor.schedule import Schedule
from qmrunner.supervisor.sd_notify import Notifier
from qmrunner.supervisor.sqlite_sharing import refuse_other_machines
from qmrunner.worker.exit_status import ExitStatus
from qmrunner.worker.lifetime import Pilot
from qmrunner.worker.supervisor_watch import PULSE

_MODULES = {"spawner": "qmrunner.guardian.spawner", "consumer": "qmrunner.worker.process"}
_LOOP_S = 5.0
_SILENT_CONSUMER_S = 90.0
_STALE_LOOKS = 3
_PAUSE_S = 1.0  # after a round that failed
_FOR_EVER = Pilot()


class Supervisor:
    def __init__(
        self, app: App, opening: Sequence[tuple[str, str, dict[str, Any]]] = (), pilot: Pilot = _FOR_EVER
    ) -> None:
        """`opening`: events (level, name, fields) to tell once the daemon has started. `pilot`: when it ends."""
        self.app = app
        self.pilot = pilot
        self.idle = False
        self._opening = opening
        self.settings = app.settings
        self.worker_id = 0
        self.children = {"spawner": ChildProcess("spawner"), "consumer": ChildProcess("consumer")}
        self._orphans = Orphans(self._own_pids)
        self.listener: socket.socket | None = None
        self.fatal = False
        self._fenced = False
        self._stale_looks = 0
        self.manager = Notifier()
        self.log = logs.get()

    def run(self) -> int:
        """Until SIGTERM or SIGINT. Raises QmrunnerError when this home, store or machine cannot be used."""
        wake = _catch_signals()
        _ = self.app.store, self.app.artifacts  # what cannot be used is refused before anything is made
        self.app.make_home()
        lock = HomeLock(self.settings.run_root)
        lock.take()
        self.app.open_store(create=True)
        try:
            self.app.verify_artifacts()
        except ArtifactsUnavailable:
            pass  # it may be away for a while, like the store: the consumer tells, and asks again
        logs.configure(self.settings.run_root, self.settings.log_level, worker=self.settings.worker_name)
        tailer = Tailer(self.settings.run_root, self.settings.run_root / logs.EVENTS_FILE, Writer(1))
        tailer.start()
        process_tree.become_subreaper()
        self.listener = self._spawner_socket()
        self._register()
        self.log.info("daemon_started", pid=os.getpid(), version=__version__, home=str(self.settings.home))
        for level, name, fields in self._opening:
            getattr(self.log, level)(name, **fields)
        schedule = Schedule(self.app, self.worker_id, self._consumer_beats)
        schedule.start()
        round_guard = Guard("supervisor_round_failed")
        while not (self._stop_wanted(wake) or self.pilot.is_over()):
            with round_guard:
                self._keep_running()
                if self.fatal or self.idle:
                    break
                schedule.worker_is(self.worker_id)
                self._watch_consumer()
                self._orphans.reap()
                write_state(self.settings.run_root / SUPERVISOR_FILE, self._state())
                self._pulse()
                self.manager.say("READY=1\nWATCHDOG=1")
                self._wait(wake)
                continue
            time.sleep(_PAUSE_S)
        self.manager.say("STOPPING=1")
        schedule.stop()
        self._stop(wake)
        self._say_goodbye()
        tailer.stop(1.0)
        return 1 if self.fatal else 0

    # -- starting ---------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        refuse_other_machines(self.app)
        capacity = host_capacity.capacity(self.settings)
        with self.app.store.write() as connection:
            self.worker_id = workers.register(
                connection,
                self.app.store.now(),
                name=self.settings.worker_name,
                host=socket.gethostname(),
                identity=process_tree.myself().as_dict(),
                home_id=self.app.home_id(),
                home=str(self.settings.home),
                capacity=capacity,
                version=__version__,
            )

    def _spawner_socket(self) -> socket.socket:
        """Bound here, once: consumers keep reaching the same address while spawners come and go."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        bind_short(listener, self.settings.run_root, spawner.SOCKET)
        listener.listen(64)
        return listener

    def _keep_running(self) -> None:
        for child in self.children.values():
            if not child.ended():
                child.forget_old_deaths()
                continue
            if child.process is not None:
                self._note_end(child)
            if not self.idle and time.monotonic() >= child.next_try and self._may_start(child):
                try:
                    self._start(child)
                except OSError as problem:  # no process, no descriptor, no memory to be had now
                    child.put_off()
                    self.log.error(f"{child.name}_not_started", error=str(problem), next_try_in_s=round(child.delay, 2))

    def _may_start(self, child: ChildProcess) -> bool:
        """Whether the child has what it needs: a consumer that was fenced off needs a new worker, from the store."""
        if child.name != "consumer" or not self._fenced:
            return True
        try:
            self._register()
        except QmrunnerError as problem:
            # Cut off once more, or the server is on its way up: what was fenced is over, nothing waits for us.
            self.log.warning("worker_waits", **problem.as_dict())
            child.next_try = time.monotonic() + child.delay
            return False
        self._fenced = False
        return True

    def _note_end(self, child: ChildProcess) -> None:
        assert child.process is not None
        child.collect()
        if child.name == "consumer" and child.last_exit == ExitStatus.IDLE:
            self.idle = True
            self.log.info("daemon_idle")
            return
        child.restarts += 1
        child.next_try = time.monotonic() + child.delay
        self.log.error(
            f"{child.name}_died",
            exit=child.last_exit,
            restart_in_s=round(child.delay, 2),
            restarts=child.restarts,
            said=last_words(self._stderr_of(child)),
        )
        if child.name == "consumer":
            try_to_start("record", partial(self._record_death, child.last_exit))
            self._fenced = child.last_exit == ExitStatus.FENCED
        child.lengthen_delay()
        if child.name == "consumer" and child.last_exit == ExitStatus.STORE_UNUSABLE:
            self.fatal = True

    def _record_death(self, status: int | None) -> None:
        """The consumer's death as a row, from a thread: a store that stalls must not stall the restart."""
        with suppress(QmrunnerError), self.app.store.write() as connection:
            workers.consumer_died(connection, self.app.store.now(), self.worker_id, status)

    def _start(self, child: ChildProcess) -> None:
        argv = [sys.executable, "-m", _MODULES[child.name]]
        passed: tuple[int, ...] = ()
        if child.name == "spawner":
            assert self.listener is not None
            argv.append(str(self.listener.fileno()))
            passed = (self.listener.fileno(),)
        else:
            argv += [str(self.worker_id), *self.pilot.words()]
        child.start(argv, passed, self._stderr_of(child))

    def _stderr_of(self, child: ChildProcess) -> Path:
        return self.settings.run_root / f"{child.name}.err"

    # -- the loop's parts -------------------------------------------------------------------------------------------

    def _stop_wanted(self, wake: int) -> bool:
        try:
            return bool(set(os.read(wake, 4096)) & {signal.SIGTERM, signal.SIGINT})
        except BlockingIOError:
            return False

    def _wait(self, wake: int) -> None:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        due = [min(time.monotonic() + _LOOP_S, self.pilot.ends_at or math.inf)]
        for child in self.children.values():
            if child.pidfd is not None:
                poller.register(child.pidfd, select.POLLIN)
            else:
                due.append(child.next_try)
        poller.poll(max(1.0, (min(due) - time.monotonic()) * 1000))

    def _pulse(self) -> None:
        """Tell the consumer that this loop goes round."""
        process = self.children["consumer"].process
        if process is not None and process.stdin is not None:
            with suppress(BlockingIOError, BrokenPipeError):  # it stands still, or has just ended: seen elsewhere
                os.write(process.stdin.fileno(), PULSE)

    def _consumer_beats(self) -> bool:
        """Whether the consumer is up and has reported since it was started."""
        consumer = self.children["consumer"]
        if consumer.ended():
            return False
        try:
            reported = (self.settings.run_root / STATE_FILE).stat().st_mtime
        except OSError:
            return False
        return reported > time.time() - (time.monotonic() - consumer.started)

    def _watch_consumer(self) -> None:
        """A consumer that has reported nothing for long is stuck: end it; its successor adopts what it had."""
        consumer = self.children["consumer"]
        if consumer.ended() or time.monotonic() - consumer.started < _SILENT_CONSUMER_S:
            return
        limit = max(_SILENT_CONSUMER_S, 3 * self.settings.lease_seconds)
        try:
            age = time.time() - (self.settings.run_root / STATE_FILE).stat().st_mtime
        except OSError:
            return
        self._stale_looks = self._stale_looks + 1 if age > limit else 0
        # Several looks: one wild step of the clock must not cost a restart.
        if self._stale_looks >= _STALE_LOOKS:
            self._stale_looks = 0
            self.log.error("consumer_silent", age_s=round(age, 1))
            consumer.signal(signal.SIGKILL)

    def _own_pids(self) -> set[int]:
        return {child.process.pid for child in self.children.values() if child.process}

    def _state(self) -> dict[str, Any]:
        return {
            "at": time.time(),
            "pid": os.getpid(),
            "worker_id": self.worker_id,
            "version": __version__,
            "children": {
                child.name: {
                    "pid": child.process.pid if child.process else None,
                    "restarts": child.restarts,
                    "last_exit": child.last_exit,
                    "next_try_in_s": round(max(0.0, child.next_try - time.monotonic()), 1),
                }
                for child in self.children.values()
            },
        }

    # -- stopping ---------------------------------------------------------------------------------------------------

    def _stop(self, wake: int) -> None:
        """TERM to the consumer, which drains; whatever still lives near the end of the grace is ended here."""
        reason = {"reason": "wall time"} if self.pilot.is_over() else {}
        self.log.info("stop_requested", grace_s=self.settings.stop_grace_seconds, **reason)
        deadline = time.monotonic() + self.settings.stop_grace_seconds * 0.9
        consumer = self.children["consumer"]
        consumer.signal(signal.SIGTERM)
        while not consumer.ended() and time.monotonic() < deadline:
            self._poll_briefly(wake, consumer)
            if self._stop_wanted(wake):
                consumer.signal(signal.SIGTERM)  # the second one: no more grace
            self._orphans.reap()
        if not consumer.ended():
            self.log.error("consumer_killed", reason="it did not drain within the grace")
            consumer.signal(signal.SIGKILL)
            assert consumer.process is not None
            consumer.process.wait(2.0)
        self._end_spawner()
        self._orphans.end_guardians(deadline)

    def _poll_briefly(self, wake: int, child: ChildProcess) -> None:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        if child.pidfd is not None:
            poller.register(child.pidfd, select.POLLIN)
        poller.poll(100)

    def _end_spawner(self) -> None:
        child = self.children["spawner"]
        if child.process is not None and not child.ended():
            assert child.process.stdin is not None
            child.process.stdin.close()
            try:
                child.process.wait(2.0)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait(2.0)

    def _say_goodbye(self) -> None:
        if not self.fatal:  # a store that cannot be trusted is left as it is
            with suppress(QmrunnerError):
                quick = App(self.settings, busy_seconds=1.0)
                with quick.store.write() as connection:
                    workers.set_state(connection, self.worker_id, "stopped")
                quick.close()
        self.log.info("daemon_stopped")
        self.app.close()


def _catch_signals() -> int:
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    return out
