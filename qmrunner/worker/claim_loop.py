"""The work of a consumer: claim a step, carry its attempt to the commit. One thread per attempt.

Every exit from here leaves an attempt either committed or in the keeping of its guardian and its exit record.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from qmrunner import logs
from qmrunner.app import App
from qmrunner.attempt import directory
from qmrunner.attempt.active import Live, LiveSet, who
from qmrunner.attempt.checkpoints import Handover
from qmrunner.attempt.commit import Conclusions, LeftForSuccessor
from qmrunner.attempt.directory import AttemptFolder
from qmrunner.attempt.interpret import outcome_of_problem
from qmrunner.attempt.log_registry import TailRegister
from qmrunner.attempt.runner import AttemptRunner
from qmrunner.errors import QmrunnerError
from qmrunner.host import capacity as host_capacity
from qmrunner.host.threads import Guard
from qmrunner.model.jobs import Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Finished
from qmrunner.store import claims, ready_steps
from qmrunner.store.claims import Claim
from qmrunner.store.session import StoreUnavailable
from qmrunner.store.step_durations import expected_s
from qmrunner.worker.lifetime import Pilot


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
        self.tails = TailRegister(self.settings.run_root)
        self.stopping = threading.Event()  # no new claims
        self.leaving = threading.Event()  # the process is about to end
        self.claim_unsure = threading.Event()  # the store may have taken a claim that we do not know of
        self.paths = directory.paths(self.settings)
        self.runner = AttemptRunner(app, worker_id, self.tails, self.stopping)
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
        found = replace(host_capacity.capacity(self.settings), slots=self.capacity.slots)
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
            if not ready_steps.any_ready(connection, now, self.capacity.labels):
                return None
        room = host_capacity.room(self.settings)
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
            if ready_steps.any_ready(connection, self.app.store.now(), self.capacity.labels):
                self.app.queue.notify()

    # -- one attempt ------------------------------------------------------------------------------------------------

    def carry(self, live: Live, *, fresh: bool) -> None:
        """An attempt from its claim, or from its adoption, to its commit."""
        self.live.add(live)
        try:
            ending, usage = self.runner.run(live) if fresh else self.runner.resume(live)
            self.conclusions.commit(live, ending, usage)
        except LeftForSuccessor:
            self.log.info("attempt_left", **who(live))
        except Exception as problem:
            self._give_up(live, problem)
        finally:
            with self._work_guard:
                self.tails.finish(live.label, live.number)
            self.live.remove(live)

    def _give_up(self, live: Live, problem: Exception) -> None:
        """A fault of our own: end the tree and fail the step, so that no step stays claimed without a thread."""
        try:
            self.log.error("internal_error", **who(live), error=repr(problem), exc_info=problem)
            self.runner.end_tree(live)
            self.conclusions.commit(live, Finished(outcome_of_problem(problem), began=live.begun), {})
        except Exception as again:  # even that fails: the beat comes back to the attempt
            self.claim_unsure.set()
            self.log.error("attempt_left", **who(live), error=repr(again))


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
