"""One attempt of a step, from its claim to its ending: inputs, reuse, launch, monitoring, result.

Every way to end is returned as one `Ending`. The caller commits it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from qmrunner import logs, untrusted
from qmrunner.app import App
from qmrunner.attempt import narration, reuse, stage_in, teardown
from qmrunner.attempt.active import ActiveAttempt, engine_grace_s, log_fields
from qmrunner.attempt.hang_watch import HangWatch
from qmrunner.attempt.interpret import after_suspension, outcome_of, outcome_of_loss, outcome_of_problem, read_exit
from qmrunner.attempt.log_registry import LogRegistry
from qmrunner.attempt.monitor import Follower
from qmrunner.attempt.prepare import prepare
from qmrunner.attempt.redirected import RedirectedOutput
from qmrunner.attempt.spawner_client import GivenUp, NotForked, SpawnerClient, app_socket
from qmrunner.guardian import process_tree
from qmrunner.host.home import supervised
from qmrunner.host.remove_tree import remove_tree
from qmrunner.model import policy, remedies
from qmrunner.model.jobs import Step
from qmrunner.model.policy import Deferred, Ending, Finished, Lost
from qmrunner.store import claims, workers
from qmrunner.store.identical_steps import being_computed, computed_before
from qmrunner.store.session import StoreUnavailable

_SHORT_S = 0.2
# How an attempt ended, and its usage: the values of its exit record.
Result = tuple[Ending, Mapping[str, Any]]


class AttemptRunner:
    """Runs the attempts of one worker, each in its own thread. `stopping`: the worker drains."""

    def __init__(self, app: App, worker_id: int, log_registry: LogRegistry, stopping: threading.Event) -> None:
        self.app = app
        self.settings = app.settings
        self.worker_id = worker_id
        self.log_registry = log_registry
        self.stopping = stopping
        self.spawner = SpawnerClient(self.settings.run_root)
        self.log = logs.get()

    def run(self, attempt: ActiveAttempt) -> Result:
        """Run a claimed attempt. Raises only for errors in qmrunner itself."""
        self._forward_log(attempt)
        ending = self._stage_in(attempt)
        if ending is not None:
            return ending, {}
        reused = self._reuse(attempt)
        if reused is not None:
            return reused
        notes, ending = self._launch(attempt)
        if ending is not None:
            return ending, {}
        self._follow(attempt, notes)
        return self._read_ending(attempt)

    def resume(self, attempt: ActiveAttempt) -> Result:
        """Resume an attempt that an earlier consumer of this home began. Raises only for errors in qmrunner itself."""
        self._forward_log(attempt)
        self._follow(attempt, None)
        return self._read_ending(attempt)

    def _forward_log(self, attempt: ActiveAttempt) -> None:
        """Register the log for forwarding. On a full disk the attempt runs without: `qmrunner logs` reads the file."""
        if self.settings.tee == "off":
            return
        try:
            if self.settings.tee == "progress":
                path = narration.file_of(self.settings.run_root, attempt.label, attempt.number)
                path.parent.mkdir(exist_ok=True)
                attempt.narration = narration.Narration(path)
                self.log_registry.add(attempt.label, attempt.number, path)
            else:
                self.log_registry.add(attempt.label, attempt.number, attempt.log)
        except OSError as problem:
            self.log.warning("log_not_forwarded", **log_fields(attempt), error=str(problem))

    def _stage_in(self, attempt: ActiveAttempt) -> Ending | None:
        """Fetch the step's inputs to this machine. None: they are here; else how the attempt ends without them."""
        ending = stage_in.fetch(self.app, attempt)
        return ending if ending is None or isinstance(ending, Deferred) else Finished(ending, began=False)

    def _reuse(self, attempt: ActiveAttempt) -> Result | None:
        """The result of an identical published step, or a wait for one that is running. None: compute the step."""
        if attempt.step.engine == "huey":
            return None  # what a task does beyond its result is not known
        attempt.content_key = reuse.key_of(self.app, attempt)
        if attempt.content_key is None or not self._shares(attempt):
            return None
        try:
            with self.app.store.read() as connection:
                known = computed_before(connection, attempt.content_key)
                same = being_computed(connection, attempt.content_key, but=attempt.step.id)
        except StoreUnavailable:
            return None  # computing does not need the store
        for earlier in known:
            if not stage_in.fetch_published(self.app, earlier):
                continue
            attempt.directory.make()
            outcome = reuse.recover(self.settings.jobs_root / earlier.job_id / earlier.name, attempt.directory.work)
            source = f"{earlier.job_id}/{earlier.name}"
            if outcome is not None:
                self.log.info("step_reused", **log_fields(attempt), source=source)
                taken = replace(outcome, summary=f"taken from {source}, which had the same content")
                return Finished(taken, began=False), {"reused_from": source}
            self.log.warning("reuse_refused", **log_fields(attempt), source=source)
            remove_tree(attempt.directory.path, self.settings.scratch_root)
        return (policy.wait_for_same(f"{same.job_id}/{same.name}"), {}) if same and self._can_wait_for(same) else None

    def _can_wait_for(self, same: Step) -> bool:
        """Whether the result of this running step will be available on this machine."""
        return same.worker_id == self.worker_id or self.app.artifacts is not None

    def _shares(self, attempt: ActiveAttempt) -> bool:
        """Whether the step may reuse the result of an identical one."""
        return self.settings.reuse == "on" and not attempt.job.params.get("fresh")

    def _launch(self, attempt: ActiveAttempt) -> tuple[tuple[str, ...], Ending | None]:
        """Notes about the attempt, and how it ended if nothing was launched."""
        engine = self.app.engine(attempt.step.engine)
        try:
            command = prepare(attempt, engine, self.app.installed(attempt.step.engine), self.settings)
        except Exception as problem:  # any problem becomes this attempt's outcome
            return (), Finished(outcome_of_problem(problem), began=attempt.begun)
        try:
            pid = self._spawner_of(attempt).spawn_guardian(attempt.directory.path, lambda: attempt.stop_request is None)
            attempt.begun = True
            attempt.directory = replace(attempt.directory, known=process_tree.identity_of(pid))
        except (NotForked, untrusted.Refused) as problem:
            return (), Finished(outcome_of_problem(problem), began=attempt.begun)
        except GivenUp:
            # A guardian that was forked all the same is followed, and stopped.
            if attempt.directory.fence_if_dead() and attempt.directory.record() is None:
                return (), Deferred("stopped", "stopped before it began; will run")
        except (OSError, ValueError) as problem:
            # The spawner died, perhaps between the fork and its answer: the attempt's directory shows which.
            self.log.warning("spawn_unanswered", **log_fields(attempt), error=repr(problem))
        return (*command.notes, *remedies.notes(attempt.step.params)), None

    def _follow(self, attempt: ActiveAttempt, notes: tuple[str, ...] | None) -> None:
        watch = HangWatch(attempt, self.settings, engine_grace_s(self.settings))
        redirected = RedirectedOutput(attempt, self.log_registry, on=self.settings.tee == "full")
        may_conclude = partial(self._owns, attempt) if attempt.step.params.get("fence") else None
        follower = Follower(attempt, self.app.engine(attempt.step.engine), watch, redirected, may_conclude)
        if not follower.connect():
            return  # it has ended already, or never began: the exit record shows which
        if self.stopping.is_set():
            attempt.stop("drain", engine_grace_s(self.settings))
        # A task may end within milliseconds: its end alone is recorded then.
        after_s = _SHORT_S if attempt.step.engine == "huey" else 0.0
        follower.follow(lambda: notes is None or self._record_start(attempt, notes), after_s)
        follower.read_progress()
        redirected.finish()

    def _owns(self, attempt: ActiveAttempt) -> bool | None:
        """Whether the attempt owns its step; None while the store does not answer."""
        try:
            with self.app.store.read() as connection:
                return not workers.fenced_attempts(connection, [(attempt.step.id, attempt.number)])
        except StoreUnavailable:
            return None

    def _record_start(self, attempt: ActiveAttempt, notes: tuple[str, ...]) -> bool:
        guardian = attempt.directory.guardian_identity()
        self.log.info("step_started", **log_fields(attempt), engine_pid=attempt.engine_pid, cores=attempt.grant.cores)
        try:
            with self.app.store.write() as connection:
                return claims.start(
                    connection,
                    self.app.store.now(),
                    step_id=attempt.step.id,
                    number=attempt.number,
                    guardian=guardian.as_dict() if guardian else {},
                    engine_pid=attempt.engine_pid,
                    notes=notes,
                    content_key=attempt.content_key if self._shares(attempt) else None,
                )
        except StoreUnavailable as problem:
            # The engine runs and its guardian has its identity; the final commit does not need `running` before it.
            self.log.warning("start_not_recorded", **log_fields(attempt), evidence=problem.evidence)
            return True

    def _read_ending(self, attempt: ActiveAttempt) -> Result:
        """After the guardian is gone: read its exit record, or prove that no process lives and return Lost."""
        record = attempt.directory.exit_record()
        if record is None:
            self.end_tree(attempt)
            outcome = outcome_of_loss(attempt) if attempt.begun else None
            if outcome is not None:
                return Finished(outcome), {}
            return Lost("guardian" if attempt.begun or attempt.directory.record() else "claim"), {}
        exit = read_exit(record)
        usage = {k: v for k, v in record.items() if k != "marker" and v is not None}
        outcome = outcome_of(attempt, self.app.engine(attempt.step.engine), exit)
        outcome, stop_reason = after_suspension(attempt, exit, outcome)
        return Finished(outcome, stop_reason, began=attempt.begun), usage

    def end_tree(self, attempt: ActiveAttempt) -> None:
        """End all processes of the attempt, and prevent new ones."""
        ended = partial(self.wait_for_orphans, attempt)
        if not teardown.end_tree(attempt.directory, attempt.marker, signal.SIGKILL, orphans_ended=ended):
            self.log.error(
                "survivors", **log_fields(attempt), remedy="a process of this attempt cannot be killed; see ps"
            )

    def _spawner_of(self, attempt: ActiveAttempt) -> SpawnerClient:
        """The process that forks the guardian: for a task of an application, its host."""
        if attempt.step.engine != "huey":
            return self.spawner
        return SpawnerClient(self.settings.run_root, app_socket(attempt.step.params["app"]))

    def wait_for_orphans(self, *attempts: ActiveAttempt) -> bool:
        """Wait until no process of a dead guardian of these attempts is left, marked or not. False when some are."""
        done = True
        for spawner in {spawner.name: spawner for spawner in map(self._spawner_of, attempts)}.values():
            try:
                done = (not self._has_guardians(spawner) or spawner.wait_for_orphans()) and done
            except OSError:
                continue  # a dead spawner's children were reparented to the supervisor
        return self._wait_for_supervisor() and done

    def _has_guardians(self, spawner: SpawnerClient) -> bool:
        """Whether this spawner may have forked any. An app host that still imports its application has not, and would
        answer only after that."""
        if spawner.name == self.spawner.name:
            return True
        return any(stat.comm == process_tree.APP_HOST_NAME for stat in process_tree.descendants(os.getppid()))

    def _wait_for_supervisor(self) -> bool:
        """Wait until the supervisor has ended its orphans: guardians that outlived their spawner leave theirs to it."""
        end = time.monotonic() + teardown.DEADLINE_S
        supervisor = os.getppid()
        while True:
            # Not by name alone: the command of an application may be any program, with the app host below it.
            others = set(process_tree.children_of(supervisor)) - supervised(self.settings.run_root)
            stats = map(process_tree.stat_of, others)
            if all(stat is None or stat.state in "ZX" or stat.comm in process_tree.OUR_NAMES for stat in stats):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
