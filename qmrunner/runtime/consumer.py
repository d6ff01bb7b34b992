"""The consumer: a Huey consumer with one worker thread per slot. Claim, prepare, watch, commit.

It may be killed at any time: engines belong to guardians, what happened is in exit records, and its successor adopts
both. Started by the supervisor as `python -m qmrunner.runtime.consumer WORKER_ID`; ends at once when the supervisor
dies (end of file on its stdin).
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qmrunner import app as composition
from qmrunner import logs
from qmrunner.app import App
from qmrunner.errors import QmrunnerError
from qmrunner.model import policy
from qmrunner.model.jobs import Grant, Job, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.queue import listen_for_wake
from qmrunner.runtime import folders, machine, tree
from qmrunner.runtime.attempt import (
    Follower,
    Live,
    LiveSet,
    SpawnerClient,
    engine_grace_s,
    outcome_of,
    outcome_of_problem,
    prepare,
    read_exit,
)
from qmrunner.runtime.beat import Beat
from qmrunner.runtime.folders import AttemptFolder
from qmrunner.runtime.publish import Publication, write_job_result
from qmrunner.runtime.removal import remove_tree
from qmrunner.runtime.tail import TailRegister
from qmrunner.store import claims, events, workers
from qmrunner.store import jobs as job_store
from qmrunner.store.claims import Claim
from qmrunner.store.session import StoreUnavailable

# From "was the job cancelled meanwhile?" to the verdict on its attempt.
VerdictFor = Callable[[bool], Verdict]

_HEALTH_EVERY_S = 10.0
_COMMIT_RETRY_S = (0.2, 5.0)


class Consumer:
    """One process's work for one worker row."""

    def __init__(self, app: App, worker_id: int, capacity: Capacity) -> None:
        self.app = app
        self.settings = app.settings
        self.worker_id = worker_id
        self.capacity = capacity
        self.live = LiveSet()
        self.spawner = SpawnerClient(self.settings.run_root)
        self.tails = TailRegister(self.settings.run_root)
        self.stopping = threading.Event()
        self.paths = folders.paths(self.settings)
        self.beat = Beat(self)
        self.log = logs.get()

    # -- claiming ---------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """What a hint sets off: run ready steps that fit until there are none."""
        while not self.stopping.is_set():
            try:
                claim = self._claim()
            except QmrunnerError as problem:
                self.log.warning("claim_failed", **problem.as_dict())
                return
            if claim is None:
                return
            self.queue_hint_if_more()
            self._carry(_from_claim(claim), fresh=True)

    def _claim(self) -> Claim | None:
        now = time.time()
        with self.app.store.read() as connection:
            if not claims.any_ready(connection, now):
                return None
        with self.app.store.write() as connection:
            if self.stopping.is_set():
                return None
            return claims.claim(connection, now, self.worker_id, self.capacity, self.paths)

    def queue_hint_if_more(self) -> None:
        """Wake another thread while there is more to do and a slot for it."""
        if self.stopping.is_set() or len(self.live.all()) >= self.capacity.slots:
            return
        with suppress(StoreUnavailable), self.app.store.read() as connection:
            if claims.any_ready(connection, time.time()):
                self.app.queue.ring()

    # -- one attempt ------------------------------------------------------------------------------------------------

    def _carry(self, live: Live, *, fresh: bool) -> None:
        """An attempt from its claim, or from its adoption, to its commit."""
        self.live.add(live)
        self.tails.add(live.label, live.number, live.log)
        try:
            if fresh:
                notes, problem = self._launch(live)
                if problem is not None:
                    self._conclude(live, outcome_of_problem(problem), None, {})
                    return
                self._follow(live, notes)
            else:
                self._follow(live, None)
            self._settle(live)
        except _LeftForSuccessor:
            self.log.info("attempt_left", **_who(live))
        finally:
            self.tails.finish(live.label, live.number)
            self.live.remove(live)

    def _launch(self, live: Live) -> tuple[tuple[str, ...], Exception | None]:
        engine = self.app.engine(live.step.engine)
        try:
            command = prepare(live, engine, self.app.installed(live.step.engine), self.settings)
            self.spawner.guard(live.folder.path)
        except Exception as problem:  # whatever it is becomes this attempt's outcome
            return (), problem
        return command.notes, None

    def _follow(self, live: Live, notes: tuple[str, ...] | None) -> None:
        follower = Follower(live, self.app.engine(live.step.engine).reader(live.step))
        if not follower.connect():
            return  # it has ended already, or never began: the record tells

        def started() -> bool:
            if notes is None:
                return True
            return self._record_start(live, notes)

        if self.stopping.is_set():
            live.stop("drain", engine_grace_s(self.settings))
        follower.follow(started)
        follower.read_progress()

    def _record_start(self, live: Live, notes: tuple[str, ...]) -> bool:
        record = live.folder.record() or {}
        self.log.info("step_started", **_who(live), engine_pid=live.engine_pid, cores=live.grant.cores)
        try:
            with self.app.store.write() as connection:
                return claims.start(
                    connection,
                    time.time(),
                    step_id=live.step.id,
                    number=live.number,
                    guardian=record.get("guardian", {}),
                    engine_pid=live.engine_pid,
                    notes=notes,
                )
        except StoreUnavailable as problem:
            # The engine runs and its guardian knows who it is; the finishing commit needs no `running` before it.
            self.log.warning("start_not_recorded", **_who(live), evidence=problem.evidence)
            return True

    def _settle(self, live: Live) -> None:
        """The guardian is gone: read what it left, or prove that nothing lives and call the attempt lost."""
        record = live.folder.exit_record()
        if record is None:
            self._lose(live, "guardian")
            return
        exit = read_exit(record)
        usage = {k: v for k, v in record.items() if k not in ("marker",) and v is not None}
        outcome = outcome_of(live, self.app.engine(live.step.engine), exit)
        self._conclude(live, outcome, exit.stop_reason, usage)

    def _conclude(self, live: Live, outcome: Outcome, stop_reason: str | None, usage: Mapping[str, Any]) -> None:
        publication = None
        if outcome.state == "succeeded":
            publication = Publication(self.settings.jobs_root / live.job.id, live, outcome)

        def verdict_for(cancelled: bool) -> Verdict:
            return self._judge(live, outcome, stop_reason, cancelled)

        self._commit(live, verdict_for, usage, publication)

    def _judge(self, live: Live, outcome: Outcome, stop_reason: str | None, cancelled: bool) -> Verdict:
        return policy.judge(
            outcome,
            stop_reason=stop_reason,
            cancel_requested=cancelled,
            retries=live.step.retries,
            max_retries=self.settings.max_retries,
            retry_delay_s=self.settings.retry_delay_seconds,
            jitter=random.random(),
        )

    def _lose(self, live: Live, what: str) -> None:
        """An attempt without exit record whose guardian is gone."""
        live.folder.fence()
        if not (self._spawner_settled() and tree.end_marked(live.marker)):
            self.log.error("survivors", **_who(live), remedy="a process of this attempt cannot be killed; see ps")
        self._commit(live, lambda cancelled: self._verdict_on_loss(live, what, cancelled), {}, None)

    def _spawner_settled(self) -> bool:
        try:
            return self.spawner.settle()
        except OSError:
            return True  # a spawner that died has no children left: they fell to the supervisor

    def _verdict_on_loss(self, live: Live, what: str, cancelled: bool) -> Verdict:
        if cancelled:
            return policy.judge(
                Outcome("stopped", "cancelled"),
                stop_reason="cancel",
                cancel_requested=True,
                retries=0,
                max_retries=0,
                retry_delay_s=0.0,
                jitter=0.0,
            )
        with self.app.store.read() as connection:
            deaths = claims.deaths_since(connection, live.step.id, time.time() - policy.POISON_WINDOW_S)
        return policy.lost(deaths + 1, what)

    def _commit(
        self, live: Live, verdict_for: VerdictFor, usage: Mapping[str, Any], publication: Publication | None
    ) -> None:
        """Write the verdict, waiting for the store as long as it takes: the outcome is safe in the exit record."""
        delay = _COMMIT_RETRY_S[0]
        while True:
            try:
                ready, verdict = self._try_commit(live, verdict_for, usage, publication)
                break
            except (StoreUnavailable, OSError) as problem:
                detail = problem.evidence if isinstance(problem, StoreUnavailable) else str(problem)
                self.log.warning("commit_waits", **_who(live), evidence=detail, retry_s=delay)
                if self.beat.sleep_unless_leaving(delay):
                    raise _LeftForSuccessor from None
                delay = min(delay * 2, _COMMIT_RETRY_S[1])
        if ready is None:
            self.log.warning("attempt_fenced", **_who(live))
            if publication is not None:
                publication.discard()
            return
        level = "info" if verdict.move in ("succeed", "requeue", "cancel") else "warning"
        getattr(self.log, level)(
            "step_ended", **_who(live), state=verdict.attempt_state, code=verdict.code, next=verdict.move,
            evidence=verdict.evidence.text if verdict.evidence else None,
        )  # fmt: skip
        self._clean(live, verdict)
        if ready > 1 or (ready and self.stopping.is_set()):
            self.app.queue.ring()

    def _try_commit(
        self, live: Live, verdict_for: VerdictFor, usage: Mapping[str, Any], publication: Publication | None
    ) -> tuple[int | None, Verdict]:
        if publication is not None:
            publication.stage()
        with self.app.store.write() as connection:
            job = job_store.get(connection, live.job.id)
            verdict = verdict_for(job.cancel_requested)
            ready = claims.finish(
                connection,
                time.time(),
                step_id=live.step.id,
                number=live.number,
                verdict=verdict,
                usage=usage,
                planner=self.app.plan,
                publish=publication.commit if publication else None,
                ended=self._write_result,
            )
        return ready, verdict

    def _write_result(self, job: Job, steps: list[Step]) -> None:
        from qmrunner import workflows

        write_job_result(self.settings.jobs_root / job.id, workflows.workflow(job.kind).result(job, steps))
        self.log.info("job_ended", job=job.id, state=job.state, code=job.code, summary=job.summary)

    def _clean(self, live: Live, verdict: Verdict) -> None:
        """Scratch goes at once where nobody will want it again; a failed attempt's stays for its retention time."""
        if verdict.move not in ("succeed", "cancel"):
            return
        root = self.settings.scratch_root
        left = remove_tree(live.folder.path.parent, root)
        if left:
            self.log.warning("scratch_left", **_who(live), left=left[:5])
        with suppress(OSError):
            (root / live.job.id).rmdir()  # only when empty

    # -- adoption ---------------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take over every attempt that an earlier consumer of this home left: living, ended or dead."""
        home_id = self.app.home_id()
        with self.app.store.write() as connection:
            old = workers.of_home(connection, home_id, but=self.worker_id)
            rows = workers.live_attempts(connection, [*old, self.worker_id])
            for row in rows:
                if row["worker_id"] != self.worker_id:
                    workers.take_over(connection, row["step_id"], row["number"], row["worker_id"], self.worker_id)
            for worker in old:
                workers.retire(connection, worker, time.time())
            found = [
                _from_row(row, job_store.get(connection, row["job_id"]), job_store.step(connection, row["step_id"]))
                for row in rows
            ]
        for live in found:
            self._adopt_one(live)

    def _adopt_one(self, live: Live) -> None:
        lives = live.folder.guardian_lives()
        if not lives and live.folder.exit_record() is None:
            # Settle first: a spawn that the dead consumer asked for is answered before this question.
            self._spawner_settled()
            lives = not live.folder.fence()
        state = "living" if lives else ("ended" if live.folder.exit_record() else "dead")
        self.log.info("attempt_adopted", **_who(live), found=state)
        if state == "dead":
            live.folder.fence()
        threading.Thread(
            target=self._carry_adopted, args=(live, state), name=f"adopted-{live.label}", daemon=True
        ).start()

    def _carry_adopted(self, live: Live, state: str) -> None:
        if state == "dead":
            self.live.add(live)
            try:
                self._lose(live, "worker" if live.folder.record() else "claim")
            except _LeftForSuccessor:
                self.log.info("attempt_left", **_who(live))
            finally:
                self.live.remove(live)
        else:
            self._carry(live, fresh=False)
        self.queue_hint_if_more()

    # -- life -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until a signal says stop, then until everything in hand has been brought to a safe place."""
        signals = _signal_pipe()
        wake = listen_for_wake(self.settings.run_root)
        threading.Thread(target=self._hear_wakes, args=(wake,), name="wake", daemon=True).start()
        self.adopt()
        self.beat.start()
        self.app.queue.on_ring(self.work)
        huey = self.app.queue.huey.create_consumer(
            workers=self.capacity.slots,
            worker_type="thread",
            periodic=False,
            initial_delay=0.5,
            max_delay=2.0,
            scheduler_interval=60,
            check_worker_health=True,
        )
        huey.start()
        signals.rearm()  # Huey's TERM means "now" and its INT "later"; ours means: drain
        self.log.info("consumer_started", slots=self.capacity.slots, cores=self.capacity.cores)
        self.queue_hint_if_more()
        while not signals.wait(_HEALTH_EVERY_S):
            huey.check_worker_health()
        self._drain(signals)
        huey.stop_flag.set()
        self.app.queue.wake.ring()

    def _drain(self, signals: _Signals) -> None:
        self.stopping.set()
        self.log.info("drain_started", running=len(self.live.all()))
        threading.Thread(target=self._announce_drain, name="announce", daemon=True).start()
        deadline = time.monotonic() + self.settings.stop_grace_seconds * 0.85
        grace = engine_grace_s(self.settings)
        while self.live.all() and time.monotonic() < deadline:
            for live in self.live.all():
                self.live.stop(live, "drain", grace)
            if signals.wait(0.1):
                for live in self.live.all():
                    live.stop("drain", 0.0)
        self.beat.leave()
        self.log.info("consumer_stopped", left=[live.label for live in self.live.all()] or None)

    def _announce_drain(self) -> None:
        with suppress(QmrunnerError), self.app.store.write() as connection:
            workers.set_state(connection, self.worker_id, "draining")
            events.append(connection, time.time(), "worker_draining", worker_id=self.worker_id)

    def _hear_wakes(self, listener: socket.socket) -> None:
        while True:
            listener.recv(16)
            self.app.queue.wake.ring()
            self.beat.nudge()

    def fenced_off(self) -> None:
        """This worker was declared dead while it lived: nothing of it counts any more. End all, then start anew."""
        self.log.error("worker_fenced", remedy="this machine was frozen or cut off for longer than the lease")
        self.stopping.set()
        for live in self.live.all():
            live.stop("fenced", 0.0)


class _LeftForSuccessor(Exception):
    """The store did not answer before this process had to leave; the exit record waits for the next consumer."""


def _from_claim(claim: Claim) -> Live:
    return Live(
        job=claim.job,
        step=claim.step,
        number=claim.number,
        grant=claim.grant,
        folder=AttemptFolder(Path(claim.directory)),
        log=Path(claim.log),
        marker=claim.marker,
    )


def _from_row(row: Mapping[str, Any], job: Job, step: Step) -> Live:
    return Live(
        job=job,
        step=step,
        number=row["number"],
        grant=Grant(**row["granted"]),
        folder=AttemptFolder(Path(row["directory"])),
        log=Path(row["log"]),
        marker=row["marker"],
        since=row["created_at"],
    )


def _who(live: Live) -> dict[str, Any]:
    return {"job": live.job.id, "step": live.step.name, "attempt": live.number}


class _Signals:
    """TERM and INT as bytes in a pipe: the handler does nothing, the loop decides."""

    def __init__(self) -> None:
        self._out, self._into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.rearm()

    def rearm(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(self._into, warn_on_full_buffer=False)

    def wait(self, timeout_s: float) -> bool:
        """Whether a signal came within the time."""
        import select

        poller = select.poll()
        poller.register(self._out, select.POLLIN)
        if not poller.poll(timeout_s * 1000):
            return False
        return bool(os.read(self._out, 64))


def _signal_pipe() -> _Signals:
    return _Signals()


def _end_with_supervisor() -> None:
    """Leave at once when the supervisor is gone: its successor starts a consumer that adopts everything."""
    while os.read(0, 1):
        continue
    os._exit(75)


def main() -> None:
    worker_id = int(sys.argv[1])
    tree.name_process("qm-consumer")
    threading.Thread(target=_end_with_supervisor, name="supervisor-watch", daemon=True).start()
    app = composition.build()
    logs.configure(app.settings.logs_root, app.settings.log_level, worker=app.settings.worker_name)
    consumer = Consumer(app, worker_id, machine.capacity(app.settings))
    try:
        consumer.run()
    except QmrunnerError as problem:
        logs.get().error("consumer_failed", **problem.as_dict())
        os._exit(1)
    # Threads may still wait for a store that does not answer; everything they know is on disk.
    os._exit(0)


if __name__ == "__main__":
    main()
