"""The consumer process: a Huey consumer with one worker thread per slot.

It may be killed at any time: engines belong to guardians, what happened is in exit records, and its successor adopts
both. Started by the supervisor as `python -m qmrunner.worker.process WORKER_ID PILOT`; ends at once when the
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
from qmrunner.attempt.active import engine_grace_s
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import peers, process_tree
from qmrunner.host import capacity
from qmrunner.host.threads import Guard, keep, try_to_start
from qmrunner.queue import listen_for_wake
from qmrunner.store import claims, events, ready_steps, workers
from qmrunner.worker.adoption import adopt
from qmrunner.worker.claim_loop import Worker
from qmrunner.worker.disk_watch import SpaceWatch
from qmrunner.worker.exit_status import ExitStatus
from qmrunner.worker.heartbeat import Beat
from qmrunner.worker.lifetime import IdleWatch, Pilot
from qmrunner.worker.supervisor_watch import Lifeline

_HEALTH_EVERY_S = 10.0
_IDLE_EVERY_S = 1.0
_DRAIN_SHARE = 0.85  # of the stop grace; the rest is for the supervisor


class Signals:
    """TERM and INT as bytes in a pipe: the handler does nothing, the loop decides."""

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
        """Whether a signal came within the time."""
        return bool(self._poller.poll(timeout_s * 1000)) and bool(os.read(self._out, 64))


def run(app: App, worker: Worker, lifeline: Lifeline) -> int:
    """Until a signal says stop, then until everything in hand has been brought to a safe place. Its exit status."""
    signals = Signals()
    beat = Beat(worker)
    wake = listen_for_wake(app.settings.run_root)
    peers.tell_senders(wake)
    keep("wake", "wake_failed", partial(_hear_wake, wake, app, beat), worker.leaving)
    beat.start()
    SpaceWatch(worker).start()
    if worker.handover is not None:
        worker.handover.start()
    adopt(worker)
    app.queue.on_notify(worker.work)
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
    worker.log.info("consumer_started", slots=worker.capacity.slots, cores=worker.capacity.cores)
    worker.hint_if_more()
    status, guard = 0, Guard("consumer_loop_failed")
    idle, every_s = IdleWatch(), _IDLE_EVERY_S if worker.pilot.until_idle else _HEALTH_EVERY_S
    while not signals.wait(every_s):
        with guard:
            huey.check_worker_health()
            if worker.pilot.until_idle and _is_done(worker, idle):
                status = ExitStatus.IDLE
                break
    lifeline.rest()
    drain(worker, signals)
    beat.leave()
    return status


def _is_done(worker: Worker, idle: IdleWatch) -> bool:
    """Whether a worker that ends when idle has nothing to wait for; a store that is away is waited for."""
    try:
        with worker.app.store.read() as connection:
            now = worker.app.store.now()
            running = claims.any_running(connection)
            ready = ready_steps.any_ready(connection, now, worker.capacity.labels)
            delayed = ready_steps.next_ready_at(connection, now) is not None
    except QmrunnerError:
        return False
    return idle.is_done(running or bool(worker.live.all()), ready, delayed)


def drain(worker: Worker, signals: Signals) -> None:
    """No new claim from now on; running attempts are stopped, committed and requeued. A second signal: no grace."""
    worker.stopping.set()
    worker.log.info("drain_started", running=len(worker.live.all()))
    try_to_start("announce", partial(_announce, worker))
    deadline = time.monotonic() + worker.settings.stop_grace_seconds * _DRAIN_SHARE
    grace = engine_grace_s(worker.settings)
    while worker.live.all() and time.monotonic() < deadline:
        for live in worker.live.all():
            worker.live.stop(live, "drain", grace)
        if signals.wait(0.05):
            for live in worker.live.all():
                live.stop("drain", 0.0)
    worker.leaving.set()
    worker.log.info("consumer_stopped", left=[live.label for live in worker.live.all()] or None)


def _announce(worker: Worker) -> None:
    with suppress(QmrunnerError), worker.app.store.write() as connection:
        workers.set_state(connection, worker.worker_id, "draining")
        events.append(connection, worker.app.store.now(), "worker_draining", worker_id=worker.worker_id)


def _hear_wake(listener: socket.socket, app: App, beat: Beat) -> None:
    if peers.receive(listener, 16) is None:
        return  # of another user
    app.queue.wake.notify()
    beat.nudge()


def main() -> None:
    worker_id = int(sys.argv[1])
    process_tree.name_process(process_tree.CONSUMER_NAME)
    lifeline = Lifeline(sys.stdin.fileno(), process_tree.identity_of(os.getppid()))
    lifeline.start()
    app = composition.build()
    logs.configure(app.settings.run_root, app.settings.log_level, worker=app.settings.worker_name)
    try:
        pilot = Pilot.from_words(sys.argv[2:])
        status = run(app, Worker(app, worker_id, capacity.capacity(app.settings), pilot), lifeline)
    except QmrunnerError as problem:
        logs.get().error("consumer_failed", **problem.as_dict())
        os._exit(ExitStatus.STORE_UNUSABLE if problem.code in ("store_corrupt", "store_replaced") else 1)
    # Threads may still wait for a store that does not answer; everything they know is on disk.
    os._exit(status)


if __name__ == "__main__":
    main()
