"""The work of a consumer: claim a step, carry its attempt to the commit. One thread per attempt.

Every exit from here leaves an attempt either committed or in the keeping of its guardian and its exit record.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from qmrunner import logs, untrusted
from qmrunner.app import App
from qmrunner.errors import QmrunnerError
from qmrunner.model import policy, remedies
from qmrunner.model.jobs import Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.runtime import fetching, folders, machine, reuse, tree
from qmrunner.runtime.attempt import Live, LiveSet, engine_grace_s, who
from qmrunner.runtime.conclusions import Conclusions, LeftForSuccessor
from qmrunner.runtime.folders import AttemptFolder
from qmrunner.runtime.follower import Follower
from qmrunner.runtime.guarded import Guard
from qmrunner.runtime.handover import Handover
from qmrunner.runtime.hangs import HangWatch
from qmrunner.runtime.outcomes import outcome_of, outcome_of_loss, outcome_of_problem, read_exit
from qmrunner.runtime.pilot import Pilot
from qmrunner.runtime.preparation import prepare
from qmrunner.runtime.removal import remove_tree
from qmrunner.runtime.spawning import NotForked, SpawnerClient
from qmrunner.runtime.tail import TailRegister
from qmrunner.store import candidates, claims
from qmrunner.store.claims import Claim
from qmrunner.store.molding import expected_s
from qmrunner.store.reuse import being_computed, computed_before
from qmrunner.store.session import StoreUnavailable

_TREE_DEADLINE_S = 10.0


class Worker:
    """What all threads of one consumer share, and what each of them does."""

    def __init__(self, app: App, worker_id: int, capacity: Capacity, pilot: Pilot) -> None:
        self.app = app
        self.settings = app.settings
        self.artifacts = app.artifacts
        self.pilot = pilot
        self.worker_id = worker_id
        self.capacity = capacity
        self.live = LiveSet()
        self.spawner = SpawnerClient(self.settings.run_root)
        self.tails = TailRegister(self.settings.run_root)
        self.stopping = threading.Event()  # no new claims
        self.leaving = threading.Event()  # the process is about to end
        self.claim_unsure = threading.Event()  # the store may have taken a claim that we do not know of
        self.paths = folders.paths(self.settings)
        self.handover = Handover(app, self.artifacts, self.live, self.leaving) if self.artifacts else None
        self.conclusions = Conclusions(
            app,
            worker_id,
            self.handover,
            stopping=self.stopping,
            leaving=self.leaving,
            capacity=lambda: self.capacity,
        )
        self.log = logs.get()
        self._work_guard = Guard("claim_broken")

    def measure(self) -> bool:
        """Look again at what the machine offers. Whether that has changed; slots stay as the threads were made."""
        found = replace(machine.capacity(self.settings), slots=self.capacity.slots)
        changed = found != self.capacity
        self.capacity = found
        return changed

    # -- claiming ---------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """What a hint sets off: run ready steps that fit until there are none."""
        while not self.stopping.is_set():
            try:
                claim = self._claim()
                if claim is None:
                    return
                self.hint_if_more()
                live = _from_claim(claim)
            except QmrunnerError as problem:
                self.log.warning("claim_failed", **problem.as_dict())
                self.claim_unsure.set()
                return
            except Exception as problem:
                self.claim_unsure.set()
                self._work_guard.tell(problem)
                return
            self.carry(live, fresh=True)

    def _claim(self) -> Claim | None:
        now = self.app.store.now()
        with self.app.store.read() as connection:
            if not candidates.any_ready(connection, now, self.capacity.labels):
                return None
        room = machine.room(self.settings)
        if self.artifacts is not None and not self.artifacts.answers():
            room = replace(room, blocked=f"the artifact store {self.artifacts.where}, which does not answer")
        with self.app.store.write() as connection:
            if self.stopping.is_set():
                return None
            worth = self._is_worth_it if self.pilot.ends_at is not None else None
            return claims.claim(connection, now, self.worker_id, self.capacity, self.paths, room, worth)

    def _is_worth_it(self, connection: Connection, step: Step) -> bool:
        """Whether to start this step with the wall time that is left."""
        return self.pilot.is_worth_it(step, expected_s(connection, step, self.capacity.cores))

    def hint_if_more(self) -> None:
        """Wake another thread while there is more to do and a slot for it."""
        if self.stopping.is_set() or len(self.live.all()) >= self.capacity.slots:
            return
        with suppress(StoreUnavailable), self.app.store.read() as connection:
            if candidates.any_ready(connection, self.app.store.now(), self.capacity.labels):
                self.app.queue.ring()

    # -- one attempt ------------------------------------------------------------------------------------------------

    def carry(self, live: Live, *, fresh: bool) -> None:
        """An attempt from its claim, or from its adoption, to its commit."""
        self.live.add(live)
        try:
            self._forward_log(live)
            if fresh:
                if not self._bring_inputs(live) or self._reuse(live):
                    return
                notes, problem = self._launch(live)
                if problem is not None:
                    self.conclusions.conclude(live, outcome_of_problem(problem), None, {})
                    return
                self._follow(live, notes)
            else:
                self._follow(live, None)
            self._settle(live)
        except LeftForSuccessor:
            self.log.info("attempt_left", **who(live))
        except Exception as problem:
            self._give_up(live, problem)
        finally:
            with self._work_guard:
                self.tails.finish(live.label, live.number)
            self.live.remove(live)

    def _forward_log(self, live: Live) -> None:
        """Have the log forwarded; where the disk is full the attempt goes on without: `logs` reads the file itself."""
        try:
            self.tails.add(live.label, live.number, live.log)
        except OSError as problem:
            self.log.warning("log_not_forwarded", **who(live), error=str(problem))

    def _give_up(self, live: Live, problem: Exception) -> None:
        """A fault of our own: end the tree and fail the step, so that nothing stays claimed without anybody at work."""
        try:
            self.log.error("internal_error", **who(live), error=repr(problem), exc_info=problem)
            self.end_tree(live)
            self.conclusions.conclude(live, outcome_of_problem(problem), None, {})
        except Exception as again:  # even that fails: the beat comes back to the attempt
            self.claim_unsure.set()
            self.log.error("attempt_left", **who(live), error=repr(again))

    def _bring_inputs(self, live: Live) -> bool:
        """Have the step's inputs on this machine. False: they cannot be had, and the attempt has been concluded."""
        found = fetching.bring(self.app, live)
        if isinstance(found, Verdict):
            put_off = found
            self.conclusions.commit(live, lambda cancelled: policy.cancelled() if cancelled else put_off, {}, None)
        elif found is not None:
            self.conclusions.conclude(live, found, None, {})
        return found is None

    def _reuse(self, live: Live) -> bool:
        """Conclude the attempt with what an identical step published before. False: it has to be computed."""
        live.content_key = reuse.key_of(self.app, live)
        if live.content_key is None or not self._shares(live):
            return False
        try:
            with self.app.store.read() as connection:
                known = computed_before(connection, live.content_key)
                same = being_computed(connection, live.content_key, but=live.step.id)
        except StoreUnavailable:
            return False  # to compute needs no store
        for earlier in known:
            if not fetching.bring_published(self.app, earlier):
                continue
            live.folder.make()
            outcome = reuse.recover(self.settings.jobs_root / earlier.job_id / earlier.name, live.folder.work)
            if outcome is not None:
                source = f"{earlier.job_id}/{earlier.name}"
                self.log.info("step_reused", **who(live), source=source)
                told = replace(outcome, summary=f"taken from {source}, which had the same content")
                self.conclusions.conclude(live, told, None, {"reused_from": source})
                return True
            self.log.warning("reuse_refused", **who(live), source=f"{earlier.job_id}/{earlier.name}")
            remove_tree(live.folder.path, self.settings.scratch_root)
        return same is not None and self._wait_for(live, same)

    def _shares(self, live: Live) -> bool:
        """Whether the step may take the result of an identical one."""
        return self.settings.reuse == "on" and not live.job.params.get("fresh")

    def _wait_for(self, live: Live, same: Step) -> bool:
        """Give the attempt back until an identical step has ended. False: its result could not be had here."""
        if same.worker_id != self.worker_id and self.app.artifacts is None:
            return False
        waiting = policy.wait_for_same(f"{same.job_id}/{same.name}")
        self.conclusions.commit(live, lambda cancelled: policy.cancelled() if cancelled else waiting, {}, None)
        return True

    def _launch(self, live: Live) -> tuple[tuple[str, ...], Exception | None]:
        engine = self.app.engine(live.step.engine)
        try:
            command = prepare(live, engine, self.app.installed(live.step.engine), self.settings)
        except Exception as problem:  # whatever it is becomes this attempt's outcome
            return (), problem
        try:
            pid = self.spawner.guard(live.folder.path)
            live.begun = True
            live.folder = replace(live.folder, known=tree.identity_of(pid))
        except (NotForked, untrusted.Refused) as problem:
            return (), problem
        except (OSError, ValueError) as problem:
            # The spawner died, perhaps between the fork and its answer: the attempt's folder tells which.
            self.log.warning("spawn_unanswered", **who(live), error=repr(problem))
        return (*command.notes, *remedies.notes(live.step.params)), None

    def _follow(self, live: Live, notes: tuple[str, ...] | None) -> None:
        watch = HangWatch(live, self.settings, engine_grace_s(self.settings))
        follower = Follower(live, self.app.engine(live.step.engine), watch)
        if not follower.connect():
            return  # it has ended already, or never began: the record tells
        if self.stopping.is_set():
            live.stop("drain", engine_grace_s(self.settings))
        follower.follow(lambda: notes is None or self._record_start(live, notes))
        follower.read_progress()

    def _record_start(self, live: Live, notes: tuple[str, ...]) -> bool:
        guardian = live.folder.guardian_identity()
        self.log.info("step_started", **who(live), engine_pid=live.engine_pid, cores=live.grant.cores)
        try:
            with self.app.store.write() as connection:
                return claims.start(
                    connection,
                    self.app.store.now(),
                    step_id=live.step.id,
                    number=live.number,
                    guardian=guardian.as_dict() if guardian else {},
                    engine_pid=live.engine_pid,
                    notes=notes,
                    content_key=live.content_key if self._shares(live) else None,
                )
        except StoreUnavailable as problem:
            # The engine runs and its guardian knows who it is; the finishing commit needs no `running` before it.
            self.log.warning("start_not_recorded", **who(live), evidence=problem.evidence)
            return True

    def _settle(self, live: Live) -> None:
        """The guardian is gone: read what it left, or prove that nothing lives and call the attempt lost."""
        record = live.folder.exit_record()
        if record is None:
            self.end_tree(live)
            lost = outcome_of_loss(live) if live.begun else None
            if lost is not None:
                self.conclusions.conclude(live, lost, None, {})
            else:
                self.conclusions.lose(live, "guardian" if live.begun or live.folder.record() else "claim")
            return
        exit = read_exit(record)
        usage = {k: v for k, v in record.items() if k != "marker" and v is not None}
        outcome = outcome_of(live, self.app.engine(live.step.engine), exit)
        self.conclusions.conclude(live, outcome, exit.stop_reason, usage)

    def end_tree(self, live: Live) -> None:
        """After this no process of the attempt lives, and none will be started."""
        end = time.monotonic() + _TREE_DEADLINE_S
        while not live.folder.fence() and time.monotonic() < end:
            # It has only just started, or is frozen: end it, and its tree falls to the spawner.
            identity = live.folder.guardian_identity()
            if identity is None or not tree.send(identity, signal.SIGKILL):
                time.sleep(0.01)
        if live.folder.guardian_lives() or not (self.spawner_settled() and tree.end_marked(live.marker)):
            self.log.error("survivors", **who(live), remedy="a process of this attempt cannot be killed; see ps")

    def spawner_settled(self) -> bool:
        """Whether nothing is left that belonged to a dead guardian, marked or not."""
        try:
            settled = self.spawner.settle()
        except OSError:
            settled = True  # a spawner that died has no children left: they fell to the supervisor
        return self._supervisor_settled() and settled

    def _supervisor_settled(self) -> bool:
        """Orphans of guardians that outlived their spawner fall to the supervisor, which ends them: wait for that."""
        end = time.monotonic() + _TREE_DEADLINE_S
        supervisor = os.getppid()
        while True:
            stats = (tree.stat_of(pid) for pid in tree.children_of(supervisor))
            if all(stat is None or stat.state in "ZX" or stat.comm in tree.OUR_NAMES for stat in stats):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.01)


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
