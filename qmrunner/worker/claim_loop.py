"""The work of a consumer: claim a step, run its attempt to the commit. One thread per attempt.

On every exit from here an attempt is either committed, or preserved by its guardian and its exit record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from qmrunner import logs
from qmrunner.app import App
from qmrunner.apps.delivery import deliver
from qmrunner.attempt import directory
from qmrunner.attempt.active import ActiveAttempt, ActiveAttempts, log_fields
from qmrunner.attempt.checkpoints import Checkpoints
from qmrunner.attempt.commit import AttemptCommitter, CommitDeferred
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.attempt.interpret import outcome_of_problem
from qmrunner.attempt.log_registry import LogRegistry
from qmrunner.attempt.runner import AttemptRunner
from qmrunner.errors import QmrunnerError
from qmrunner.host import capacity as host_capacity
from qmrunner.host.threads import Guard
from qmrunner.model.jobs import Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Finished
from qmrunner.store import artifacts, claims, ready_steps
from qmrunner.store.claims import Claim
from qmrunner.store.session import StoreUnavailable
from qmrunner.store.step_durations import expected_s
from qmrunner.worker.lifetime import Lifetime

# A submitter set an artifact store after this worker had started: the files of new jobs are there and not here.
_NOT_SET = "QMRUNNER_ARTIFACTS: the machines of this store exchange files through it, and this worker has none set"


class Worker:
    """The shared state of a consumer's threads, and the work of each thread."""

    def __init__(self, app: App, worker_id: int, capacity: Capacity, lifetime: Lifetime) -> None:
        self.app = app
        self.settings = app.settings
        self.artifacts = app.artifacts
        self.lifetime = lifetime
        self.worker_id = worker_id
        self.capacity = capacity
        self.active = ActiveAttempts()
        self.log_registry = LogRegistry(self.settings.run_root)
        self.stopping = threading.Event()  # no new claims
        self.leaving = threading.Event()  # the process is about to end
        self.attempt_ended = threading.Event()  # for who waits for a free slot
        self.claim_unsure = threading.Event()  # the store may hold a claim of ours that no thread knows
        self.paths = directory.paths(self.settings)
        self.runner = AttemptRunner(app, worker_id, self.log_registry, self.stopping)
        self.checkpoints = Checkpoints(app, self.artifacts, self.active, self.leaving) if self.artifacts else None
        self.committer = AttemptCommitter(
            app,
            worker_id,
            self.checkpoints,
            stopping=self.stopping,
            leaving=self.leaving,
            capacity=lambda: self.capacity,
            deliver=partial(deliver, app),
            committed=self.attempt_ended.set,
        )
        self.log = logs.get()
        self._guard = Guard("claim_broken")

    def measure(self) -> bool:
        """Measure the machine's capacity again. Returns whether it changed; slots stay, as the threads are fixed."""
        capacity = replace(host_capacity.capacity(self.settings), slots=self.capacity.slots)
        changed = capacity != self.capacity
        self.capacity = capacity
        return changed

    # -- claiming ---------------------------------------------------------------------------------------------------

    def run_ready_steps(self) -> None:
        """Run ready steps that fit until there are none; a notification of the queue starts it."""
        while not self.stopping.is_set():
            try:
                claim = self._claim()
                if claim is None:
                    return
                self.hint_if_more()
                attempt = _from_claim(claim)
            except QmrunnerError as problem:
                self.log.warning("claim_failed", **problem.as_dict())
                self.claim_unsure.set()
                return
            except Exception as problem:
                self.claim_unsure.set()
                self._guard.report(problem)
                return
            self.run(attempt, fresh=True)

    def _claim(self) -> Claim | None:
        now = self.app.store.now()
        with self.app.store.read() as connection:
            if not ready_steps.any_ready(connection, now, self.capacity.labels):
                return None
        claim = self.claimer()
        with self.app.store.write() as connection:
            return claim(connection)

    def claimer(self) -> Callable[[Connection], Claim | None]:
        """Measure the machine, and return the function that claims a step for it in a write transaction."""
        room = host_capacity.room(self.settings)
        if self.artifacts is not None and not self.artifacts.answers():
            room = replace(room, blocked=f"the artifact store {self.artifacts.where}, which does not answer")

        def claim(connection: Connection) -> Claim | None:
            if self.stopping.is_set():
                return None
            worth = self._is_worth_it if self.lifetime.ends_at is not None else None
            now, here = self.app.store.now(), room
            # In the same transaction: who stores a job with an artifact store has recorded that before.
            if self.artifacts is None and artifacts.identity(connection) is not None:
                here = replace(room, blocked=_NOT_SET)
            return claims.claim(connection, now, self.worker_id, self.capacity, self.paths, here, worth)

        return claim

    def run_claim(self, claim: Claim) -> None:
        """Run a claimed step to its end."""
        self.hint_if_more()
        self.run(_from_claim(claim), fresh=True)

    def _is_worth_it(self, connection: Connection, step: Step) -> bool:
        """Whether to start this step with the remaining wall time."""
        return self.lifetime.is_worth_it(step, expected_s(connection, step, self.capacity.cores))

    def hint_if_more(self) -> None:
        """Wake another thread if more steps are ready and a slot is free."""
        if self.stopping.is_set() or self.active.slots() >= self.capacity.slots:
            return
        with suppress(StoreUnavailable), self.app.store.read() as connection:
            if ready_steps.any_ready(connection, self.app.store.now(), self.capacity.labels):
                self.app.queue.notify()

    # -- one attempt ------------------------------------------------------------------------------------------------

    def run(self, attempt: ActiveAttempt, *, fresh: bool) -> None:
        """Run an attempt from its claim, or from its adoption, to its commit."""
        self.active.add(attempt)
        try:
            ending, usage = self.runner.run(attempt) if fresh else self.runner.resume(attempt)
            self.committer.commit(attempt, ending, usage)
        except CommitDeferred:
            self.log.info("attempt_left", **log_fields(attempt))
        except Exception as problem:
            self._give_up(attempt, problem)
        finally:
            with self._guard:
                self.log_registry.finish(attempt.label, attempt.number)
            self.active.remove(attempt)
            self.attempt_ended.set()

    def _give_up(self, attempt: ActiveAttempt, problem: Exception) -> None:
        """Handle an error in qmrunner: end the tree and fail the step; no step may stay claimed without a thread."""
        try:
            self.log.error("internal_error", **log_fields(attempt), error=repr(problem), exc_info=problem)
            self.runner.end_tree(attempt)
            self.committer.commit(attempt, Finished(outcome_of_problem(problem), began=attempt.begun), {})
        except Exception as again:  # that failed, too: the heartbeat returns to the attempt
            self.claim_unsure.set()
            self.log.error("attempt_left", **log_fields(attempt), error=repr(again))


def _from_claim(claim: Claim) -> ActiveAttempt:
    return ActiveAttempt(
        job=claim.job,
        step=claim.step,
        number=claim.number,
        grant=claim.grant,
        directory=AttemptDirectory(Path(claim.directory)),
        log=Path(claim.log),
        marker=claim.marker,
    )
