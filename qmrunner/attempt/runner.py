"""One attempt of a step, from its claim to its ending: inputs, reuse, launch, monitoring, result.

Whatever happens comes back as one `Ending`. The caller commits it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qmrunner import logs, untrusted
from qmrunner.app import App
from qmrunner.attempt import reuse, stage_in, teardown
from qmrunner.attempt.active import Live, engine_grace_s, who
from qmrunner.attempt.hang_watch import HangWatch
from qmrunner.attempt.interpret import outcome_of, outcome_of_loss, outcome_of_problem, read_exit
from qmrunner.attempt.log_registry import TailRegister
from qmrunner.attempt.monitor import Follower
from qmrunner.attempt.prepare import prepare
from qmrunner.attempt.spawner_client import NotForked, SpawnerClient
from qmrunner.guardian import process_tree
from qmrunner.host.remove_tree import remove_tree
from qmrunner.model import policy, remedies
from qmrunner.model.jobs import Step
from qmrunner.model.policy import Deferred, Ending, Finished, Lost
from qmrunner.store import claims
from qmrunner.store.identical_steps import being_computed, computed_before
from qmrunner.store.session import StoreUnavailable

# How an attempt ended, and what it used: the values of its exit record.
Result = tuple[Ending, Mapping[str, Any]]


class AttemptRunner:
    """Runs the attempts of one worker, each in a thread of its own. `stopping`: the worker drains."""

    def __init__(self, app: App, worker_id: int, tails: TailRegister, stopping: threading.Event) -> None:
        self.app = app
        self.settings = app.settings
        self.worker_id = worker_id
        self.tails = tails
        self.stopping = stopping
        self.spawner = SpawnerClient(self.settings.run_root)
        self.log = logs.get()

    def run(self, live: Live) -> Result:
        """A claimed attempt. Raises what is a fault of qmrunner itself."""
        self._forward_log(live)
        ending = self._stage_in(live)
        if ending is not None:
            return ending, {}
        reused = self._reuse(live)
        if reused is not None:
            return reused
        notes, problem = self._launch(live)
        if problem is not None:
            return Finished(outcome_of_problem(problem), began=live.begun), {}
        self._follow(live, notes)
        return self._settle(live)

    def resume(self, live: Live) -> Result:
        """An attempt that an earlier consumer of this home began. Raises what is a fault of qmrunner itself."""
        self._forward_log(live)
        self._follow(live, None)
        return self._settle(live)

    def _forward_log(self, live: Live) -> None:
        """Have the log forwarded; where the disk is full the attempt goes on without: `logs` reads the file itself."""
        try:
            self.tails.add(live.label, live.number, live.log)
        except OSError as problem:
            self.log.warning("log_not_forwarded", **who(live), error=str(problem))

    def _stage_in(self, live: Live) -> Ending | None:
        """Bring the step's inputs to this machine. None: they are here; else how the attempt ends without them."""
        found = stage_in.bring(self.app, live)
        return found if found is None or isinstance(found, Deferred) else Finished(found, began=False)

    def _reuse(self, live: Live) -> Result | None:
        """What an identical step published before, or a wait for one that runs. None: the step has to be computed."""
        live.content_key = reuse.key_of(self.app, live)
        if live.content_key is None or not self._shares(live):
            return None
        try:
            with self.app.store.read() as connection:
                known = computed_before(connection, live.content_key)
                same = being_computed(connection, live.content_key, but=live.step.id)
        except StoreUnavailable:
            return None  # to compute needs no store
        for earlier in known:
            if not stage_in.bring_published(self.app, earlier):
                continue
            live.folder.make()
            outcome = reuse.recover(self.settings.jobs_root / earlier.job_id / earlier.name, live.folder.work)
            source = f"{earlier.job_id}/{earlier.name}"
            if outcome is not None:
                self.log.info("step_reused", **who(live), source=source)
                taken = replace(outcome, summary=f"taken from {source}, which had the same content")
                return Finished(taken, began=False), {"reused_from": source}
            self.log.warning("reuse_refused", **who(live), source=source)
            remove_tree(live.folder.path, self.settings.scratch_root)
        return (policy.wait_for_same(f"{same.job_id}/{same.name}"), {}) if same and self._can_wait_for(same) else None

    def _can_wait_for(self, same: Step) -> bool:
        """Whether the result of this running step could be had here."""
        return same.worker_id == self.worker_id or self.app.artifacts is not None

    def _shares(self, live: Live) -> bool:
        """Whether the step may take the result of an identical one."""
        return self.settings.reuse == "on" and not live.job.params.get("fresh")

    def _launch(self, live: Live) -> tuple[tuple[str, ...], Exception | None]:
        engine = self.app.engine(live.step.engine)
        try:
            command = prepare(live, engine, self.app.installed(live.step.engine), self.settings)
        except Exception as problem:  # whatever it is becomes this attempt's outcome
            return (), problem
        try:
            pid = self.spawner.guard(live.folder.path)
            live.begun = True
            live.folder = replace(live.folder, known=process_tree.identity_of(pid))
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

    def _settle(self, live: Live) -> Result:
        """The guardian is gone: read what it left, or prove that nothing lives and call the attempt lost."""
        record = live.folder.exit_record()
        if record is None:
            self.end_tree(live)
            outcome = outcome_of_loss(live) if live.begun else None
            if outcome is not None:
                return Finished(outcome), {}
            return Lost("guardian" if live.begun or live.folder.record() else "claim"), {}
        exit = read_exit(record)
        usage = {k: v for k, v in record.items() if k != "marker" and v is not None}
        outcome = outcome_of(live, self.app.engine(live.step.engine), exit)
        return Finished(outcome, exit.stop_reason, began=live.begun), usage

    def end_tree(self, live: Live) -> None:
        """After this no process of the attempt lives, and none will be started."""
        if not teardown.end_tree(live.folder, live.marker, signal.SIGKILL, settled=self.spawner_settled):
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
        end = time.monotonic() + teardown.DEADLINE_S
        supervisor = os.getppid()
        while True:
            stats = (process_tree.stat_of(pid) for pid in process_tree.children_of(supervisor))
            if all(stat is None or stat.state in "ZX" or stat.comm in process_tree.OUR_NAMES for stat in stats):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
