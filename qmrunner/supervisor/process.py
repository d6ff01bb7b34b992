"""The supervisor, `qmrunner run`: no job code. Keeps spawner and consumer running, forwards logs, reaps orphans.

Works as PID 1 and below an init: it is a child subreaper, and reaps only processes that no Popen owns (a blanket
`waitpid(-1)` next to `subprocess` turns exit codes into 0: measured).
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from qmrunner import __version__, logs, private
from qmrunner.app import App
from qmrunner.apps import command as app_command
from qmrunner.artifacts.blobs import ArtifactsUnavailable
from qmrunner.attempt.spawner_client import app_socket
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import process_tree, spawner
from qmrunner.host import capacity as host_capacity
from qmrunner.host.home import STATE_FILE, SUPERVISOR_FILE, HomeLock, forget_apps, write_state
from qmrunner.host.sockets import listen_short
from qmrunner.host.threads import Guard, try_to_start
from qmrunner.store import workers
from qmrunner.supervisor.batch_job import BatchJob
from qmrunner.supervisor.child import ChildProcess, last_words
from qmrunner.supervisor.first_start import open_store
from qmrunner.supervisor.log_forwarder import LogForwarder, Writer
from qmrunner.supervisor.orphans import Orphans
from qmrunner.supervisor.schedule import Schedule
from qmrunner.supervisor.sd_notify import Notifier
from qmrunner.supervisor.signals import catch_signals
from qmrunner.supervisor.sqlite_sharing import refuse_other_machines
from qmrunner.worker.consumer_exit import ExitStatus
from qmrunner.worker.lifetime import Lifetime
from qmrunner.worker.supervisor_watch import PULSE

_MODULES = {"spawner": "qmrunner.guardian.spawner", "consumer": "qmrunner.worker.process"}
_LOOP_S = 5.0
_SILENT_CONSUMER_S = 90.0
_STALE_CHECKS = 3
_PAUSE_S = 1.0  # after a round that failed
_FOR_EVER = Lifetime()
_NO_JOB = BatchJob()


class Supervisor:
    def __init__(
        self,
        app: App,
        opening: Sequence[tuple[str, str, dict[str, Any]]] = (),
        lifetime: Lifetime = _FOR_EVER,
        batch_job: BatchJob = _NO_JOB,
    ) -> None:
        """`opening`: events (level, name, fields) to log once the daemon has started. `lifetime`: when it ends."""
        self.batch_job = batch_job
        self.app = app
        self.lifetime = lifetime
        self.idle = False
        self._opening = opening
        self.settings = app.settings
        self.worker_id = 0
        # The first is `app`, whatever its name is: one application is what most daemons have.
        self.commands = {
            f"app-{command.name}" if number else "app": command
            for number, command in enumerate(app_command.all_of(self.settings))
        }
        # The consumer is first: it ends what outlived a killed daemon, and importing an application takes long.
        first = (ChildProcess("consumer"), ChildProcess("spawner", spawner.SOCKET))
        hosts = (ChildProcess(name, app_socket(command.name)) for name, command in self.commands.items())
        self.children = {child.name: child for child in (*first, *hosts)}
        self._orphans = Orphans(self._own_pids)
        self.listener: socket.socket | None = None
        self.app_listeners: dict[str, socket.socket] = {}
        self.fatal = False
        self._fenced = False
        self._stale_checks = 0
        self.manager = Notifier()
        self.log = logs.get()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT. Raises QmrunnerError when this home, store or machine cannot be used."""
        wake = catch_signals()
        _ = self.app.store, self.app.artifacts  # raises for an unusable store before creating any file
        self.app.make_home()
        lock = HomeLock(self.settings.run_root)
        lock.take()
        open_store(self.app)
        try:
            self.app.verify_artifacts(at_start=True)
        except ArtifactsUnavailable:
            pass  # it may be unreachable for a while, like the store: the consumer logs that, and retries
        logs.configure(self.settings.run_root, self.settings.log_level, worker=self.settings.worker_name)
        root = self.settings.run_root
        hosts = [self._stderr_of(self.children[name]) for name in self.commands]
        log_forwarder = LogForwarder(root, root / logs.EVENTS_FILE, Writer(1), hosts)
        log_forwarder.start()
        process_tree.become_subreaper()
        self.listener = listen_short(self.settings.run_root, spawner.SOCKET)
        forget_apps(self.settings.run_root)
        for name, command in self.commands.items():
            self.app_listeners[name] = listen_short(self.settings.run_root, app_socket(command.name))
        self._register()
        self.log.info("daemon_started", pid=os.getpid(), version=__version__, home=str(self.settings.home))
        self.batch_job.begin(self.settings)
        for level, name, fields in self._opening:
            getattr(self.log, level)(name, **fields)
        schedule = Schedule(self.app, self.worker_id, self._consumer_beats)
        schedule.start()
        round_guard = Guard("supervisor_round_failed")
        while not (self._stop_wanted(wake) or self.lifetime.is_over()):
            with round_guard:
                self._keep_running()
                if self.fatal or self.idle:
                    break
                schedule.worker_is(self.worker_id)
                self._watch_consumer()
                self._orphans.reap()
                write_state(self.settings.run_root / SUPERVISOR_FILE, self._state())
                self._pulse()
                self.manager.send("READY=1\nWATCHDOG=1")
                self._wait(wake)
                continue
            time.sleep(_PAUSE_S)
        self.manager.send("STOPPING=1")
        schedule.stop()
        self._stop(wake)
        status = 1 if self.fatal else 0 if self.idle else self.batch_job.status(self.app)
        self._sign_off()
        log_forwarder.stop(1.0)
        self.batch_job.end(self.settings)  # the lock is held until this process has ended
        return status

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
                except OSError as problem:  # no process, descriptor or memory is available now
                    child.defer_start()
                    self.log.error(f"{child.name}_not_started", error=str(problem), next_try_in_s=round(child.delay, 2))

    def _may_start(self, child: ChildProcess) -> bool:
        """Whether the child may start: a consumer that was fenced needs a new worker row from the store."""
        if child.name != "consumer" or not self._fenced:
            return True
        try:
            self._register()
        except QmrunnerError as problem:
            # Disconnected again, or the server is starting: the fenced attempts are over, so waiting delays nothing.
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
        """Record the consumer's death in the store, from a thread: a stalled store must not delay the restart."""
        with suppress(QmrunnerError), self.app.store.write() as connection:
            workers.consumer_died(connection, self.app.store.now(), self.worker_id, status)

    def _start(self, child: ChildProcess) -> None:
        if child.name in self.commands:
            self._start_app(child)
            return
        argv = [sys.executable, "-P", "-m", _MODULES[child.name]]
        passed: tuple[int, ...] = ()
        if child.name == "spawner":
            assert self.listener is not None
            argv.append(str(self.listener.fileno()))
            passed = (self.listener.fileno(),)
        else:
            argv += [str(self.worker_id), *self.lifetime.words()]
        child.start(argv, passed, self._stderr_of(child))

    def _start_app(self, child: ChildProcess) -> None:
        """Start the host of the Huey application: its own command in its own interpreter."""
        command, number = self.commands[child.name], self.app_listeners[child.name].fileno()
        argv, environment = command.start(number, self.settings.run_root, self.app.home_id())
        cwd = command.section.cwd if command.section else None
        child.start(argv, (number,), self._stderr_of(child), environment, cwd, private.umasks()[1])

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
        due = [min(time.monotonic() + _LOOP_S, self.lifetime.ends_at or math.inf)]
        for child in self.children.values():
            if child.pidfd is not None:
                poller.register(child.pidfd, select.POLLIN)
            else:
                due.append(child.next_try)
        poller.poll(max(1.0, (min(due) - time.monotonic()) * 1000))

    def _pulse(self) -> None:
        """Send the consumer a byte: this loop is running."""
        process = self.children["consumer"].process
        if process is not None and process.stdin is not None:
            with suppress(BlockingIOError, BrokenPipeError):  # it hangs or has just ended: detected elsewhere
                os.write(process.stdin.fileno(), PULSE)

    def _consumer_beats(self) -> bool:
        """Whether the consumer runs and has written its state since it was started."""
        consumer = self.children["consumer"]
        if consumer.ended():
            return False
        try:
            reported = (self.settings.run_root / STATE_FILE).stat().st_mtime
        except OSError:
            return False
        return reported > time.time() - (time.monotonic() - consumer.started)

    def _watch_consumer(self) -> None:
        """Kill a consumer that has not written its state for long: it is stuck; its successor adopts its attempts."""
        consumer = self.children["consumer"]
        if consumer.ended() or time.monotonic() - consumer.started < _SILENT_CONSUMER_S:
            return
        limit = max(_SILENT_CONSUMER_S, 3 * self.settings.lease_seconds)
        try:
            age = time.time() - (self.settings.run_root / STATE_FILE).stat().st_mtime
        except OSError:
            return
        self._stale_checks = self._stale_checks + 1 if age > limit else 0
        # Several checks: a single clock step must not cause a restart.
        if self._stale_checks >= _STALE_CHECKS:
            self._stale_checks = 0
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
            "children": {child.name: child.report() for child in self.children.values()},
        }

    # -- stopping ---------------------------------------------------------------------------------------------------

    def _stop(self, wake: int) -> None:
        """Send TERM to the consumer, which drains; near the end of the grace, end every process that still lives."""
        reason = {"reason": "wall time"} if self.lifetime.is_over() else {}
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
        for name in self.children.keys() - {"consumer"}:
            self.children[name].end()
        self._orphans.end_guardians(deadline)

    def _poll_briefly(self, wake: int, child: ChildProcess) -> None:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        if child.pidfd is not None:
            poller.register(child.pidfd, select.POLLIN)
        poller.poll(100)

    def _sign_off(self) -> None:
        if not self.fatal:  # do not write to a store that cannot be trusted
            with suppress(QmrunnerError):
                quick = App(self.settings, busy_seconds=1.0)
                with quick.store.write() as connection:
                    workers.set_state(connection, self.worker_id, "stopped")
                quick.close()
        self.log.info("daemon_stopped")
        self.app.close()
