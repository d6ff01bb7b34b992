"""The consumer process: a Huey consumer with one worker thread per slot.

It may be killed at any time: guardians own the engines, exit records hold the results, and its successor adopts
both. The supervisor starts it as `python -m qmrunner.worker.process WORKER_ID LIFETIME`; it ends at once when the
supervisor dies (end of file on its stdin).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial

from qmrunner import app as composition
from qmrunner import logs
from qmrunner.app import App
from qmrunner.apps import command as app_command
from qmrunner.apps.intake import Intake
from qmrunner.attempt.active import ActiveAttempt, engine_grace_s
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import peers, process_tree
from qmrunner.host import capacity
from qmrunner.host.threads import Guard, keep, try_to_start
from qmrunner.queue import listen_for_wake
from qmrunner.store import claims, events, ready_steps, workers
from qmrunner.worker.adoption import adopt
from qmrunner.worker.app_threads import AppThreads
from qmrunner.worker.claim_loop import Worker
from qmrunner.worker.consumer_exit import ExitStatus
from qmrunner.worker.disk_watch import DiskWatch
from qmrunner.worker.examination import Examination
from qmrunner.worker.heartbeat import Heartbeat
from qmrunner.worker.lifetime import IdleWatch, Lifetime
from qmrunner.worker.reporter import Reporter
from qmrunner.worker.supervisor_watch import SupervisorWatch

_HEALTH_EVERY_S = 10.0
_IDLE_EVERY_S = 1.0
_DRAIN_SHARE = 0.85  # of the stop grace; the rest is for the supervisor


class Signals:
    """TERM and INT as bytes in a pipe: the handlers do nothing, the loop reacts."""

    def __init__(self) -> None:
        self._out, self._into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poller = select.poll()
        self._poller.register(self._out, select.POLLIN)
        self.rearm()

    def rearm(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(self._into, warn_on_full_buffer=False)

    def wait(self, timeout_s: float) -> bool:
        """Whether a signal arrives within the timeout."""
        return bool(self._poller.poll(timeout_s * 1000)) and bool(os.read(self._out, 64))


def run(app: App, worker: Worker, supervisor_watch: SupervisorWatch) -> int:
    """Run until a stop signal, then drain: commit attempts or leave them to guardians. Returns the exit status."""
    signals = Signals()
    heartbeat = Heartbeat(worker)
    wake = listen_for_wake(app.settings.run_root)
    peers.pass_credentials(wake)
    keep("wake", "wake_failed", partial(_hear_wake, wake, app, heartbeat), worker.leaving)
    keep("reports", "reports_failed", Reporter(app).turn, worker.leaving)
    keep("examination", "examination_failed", Examination(worker.worker_id, worker.stopping).turn, worker.stopping)
    heartbeat.start()
    DiskWatch(worker).start()
    if worker.checkpoints is not None:
        worker.checkpoints.start()
    adopt(worker)
    app.queue.on_notify(worker.run_ready_steps)
    huey = app.queue.huey.create_consumer(
        workers=worker.capacity.slots,
        worker_type="thread",
        periodic=False,
        initial_delay=0.5,
        max_delay=2.0,
        scheduler_interval=60,
        check_worker_health=True,
    )
    huey.start()
    signals.rearm()  # Huey's TERM means "now" and its INT "later"; ours both mean: drain
    _start_intake(worker)
    size = worker.capacity
    worker.log.info("consumer_started", slots=size.slots, cores=size.cores, memory_mib=size.memory_mib)
    worker.hint_if_more()
    status, guard = 0, Guard("consumer_loop_failed")
    idle, every_s = IdleWatch(), _IDLE_EVERY_S if worker.lifetime.until_idle else _HEALTH_EVERY_S
    while not signals.wait(every_s):
        with guard:
            huey.check_worker_health()
            if worker.lifetime.until_idle and _is_done(worker, idle):
                status = ExitStatus.IDLE
                break
    supervisor_watch.ignore_silence()
    drain(worker, signals)
    heartbeat.leave()
    return status


def _start_intake(worker: Worker) -> None:
    """Take messages of this worker's Huey applications."""
    commands = app_command.all_of(worker.settings)
    if not commands:
        return
    threads = AppThreads(worker)
    for command in commands:
        intake = Intake(
            worker.app,
            command,
            worker.worker_id,
            stopping=worker.stopping,
            attempt_ended=worker.attempt_ended,
            serve=partial(threads.allow, command.name),
            claimer=worker.claimer,
            run=threads.run,
        )
        keep(f"intake_{command.name}", "intake_failed", intake.run, worker.stopping)
    keep("app_threads", "app_threads_failed", threads.watch, worker.stopping)


def _is_done(worker: Worker, idle: IdleWatch) -> bool:
    """Whether a worker that ends when idle has nothing to wait for; False while the store does not answer."""
    try:
        with worker.app.store.read() as connection:
            now = worker.app.store.now()
            running = claims.any_running(connection)
            ready = ready_steps.any_ready(connection, now, worker.capacity.labels)
            delayed = ready_steps.next_ready_at(connection, now) is not None
    except QmrunnerError:
        return False
    return idle.is_done(running or bool(worker.active.all()), ready, delayed)


def drain(worker: Worker, signals: Signals) -> None:
    """Make no new claims; stop, commit and requeue running attempts. A second signal ends the grace."""
    worker.stopping.set()
    worker.log.info("drain_started", running=len(worker.active.all()))
    try_to_start("announce", partial(_announce, worker))
    deadline = time.monotonic() + worker.settings.stop_grace_seconds * _DRAIN_SHARE
    grace = engine_grace_s(worker.settings)
    may_finish_until = deadline - grace
    while worker.active.all() and time.monotonic() < deadline:
        for attempt in worker.active.all():
            if not _may_finish(attempt) or time.monotonic() >= may_finish_until:
                worker.active.stop(attempt, "drain", grace)
        if signals.wait(0.05):
            may_finish_until = 0.0
            for attempt in worker.active.all():
                attempt.stop("drain", 0.0)
    worker.leaving.set()
    worker.log.info("consumer_stopped", left=[attempt.label for attempt in worker.active.all()] or None)


def _may_finish(attempt: ActiveAttempt) -> bool:
    """Whether a stop waits for this attempt: a task of an application, which cannot resume, may end in time."""
    return attempt.step.engine == "huey" and attempt.step.params.get("stop", "finish") == "finish"


def _announce(worker: Worker) -> None:
    with suppress(QmrunnerError), worker.app.store.write() as connection:
        workers.set_state(connection, worker.worker_id, "draining")
        events.append(connection, worker.app.store.now(), "worker_draining", worker_id=worker.worker_id)


def _hear_wake(listener: socket.socket, app: App, heartbeat: Heartbeat) -> None:
    if peers.receive(listener, 16) is None:
        return  # of another user
    app.queue.wake.notify()
    heartbeat.nudge()


def main() -> None:
    worker_id = int(sys.argv[1])
    process_tree.name_process(process_tree.CONSUMER_NAME)
    supervisor_watch = SupervisorWatch(sys.stdin.fileno(), process_tree.identity_of(os.getppid()))
    supervisor_watch.start()
    app = composition.build()
    logs.configure(app.settings.run_root, app.settings.log_level, worker=app.settings.worker_name)
    try:
        lifetime = Lifetime.from_words(sys.argv[2:])
        status = run(app, Worker(app, worker_id, capacity.capacity(app.settings), lifetime), supervisor_watch)
    except QmrunnerError as problem:
        logs.get().error("consumer_failed", **problem.as_dict())
        os._exit(ExitStatus.STORE_UNUSABLE if problem.code in ("store_corrupt", "store_replaced") else 1)
    # Threads may still wait for a store that does not answer; their results are on disk.
    os._exit(status)


if __name__ == "__main__":
    main()
