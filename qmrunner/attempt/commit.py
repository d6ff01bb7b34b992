"""The end of an attempt: the commit that makes its ending durable, then events and clean-up on this machine."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from qmrunner import logs
from qmrunner.app import App
from qmrunner.artifacts.blobs import ArtifactsUnavailable
from qmrunner.attempt import reuse
from qmrunner.attempt.active import ActiveAttempt, log_fields
from qmrunner.attempt.checkpoints import Checkpoints
from qmrunner.attempt.publish import Publication, write_job_result
from qmrunner.attempt.trim import trim
from qmrunner.errors import QmrunnerError
from qmrunner.host.remove_tree import remove_tree
from qmrunner.model import app_tasks, remedies
from qmrunner.model.disk_space import REASONS
from qmrunner.model.jobs import Job, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Deferred, Ending, Finished, Limits, Verdict
from qmrunner.settings import Settings
from qmrunner.store import artifacts as artifact_store
from qmrunner.store import events
from qmrunner.store.finish import end
from qmrunner.store.session import StoreUnavailable

_COMMIT_RETRY_S = (0.2, 5.0)


def limits(settings: Settings, engine: str | None = None) -> Limits:
    """The retry limits of this worker for a step of this engine."""
    delay_s = settings.retry_delay_seconds
    if engine == app_tasks.ENGINE:
        delay_s = min(delay_s, app_tasks.RETRY_DELAY_S)
    return Limits(settings.max_retries, delay_s, settings.poison_deaths, random.random())


def _nothing_to_deliver(attempt: ActiveAttempt, ending: Ending) -> Callable[[], None] | None:
    return None


class CommitDeferred(Exception):
    """The store did not answer before this process had to leave; the exit record waits for the next consumer."""


class AttemptCommitter:
    """Commits the endings of one consumer's attempts; until then each ending is safe in its exit record.

    `stopping`: no new claims; `leaving`: the process is about to end. `capacity` is called when needed. `deliver` sends
    what an attempt leaves for others before its commit, may be repeated, and returns what to do after the commit.
    `committed` is called after each commit, before the clean-up.
    """

    def __init__(
        self,
        app: App,
        worker_id: int,
        checkpoints: Checkpoints | None,
        *,
        stopping: threading.Event,
        leaving: threading.Event,
        capacity: Callable[[], Capacity],
        deliver: Callable[[ActiveAttempt, Ending], Callable[[], None] | None] = _nothing_to_deliver,
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        self.app = app
        self.settings = app.settings
        self.artifacts = app.artifacts
        self.worker_id = worker_id
        self.checkpoints = checkpoints
        self.stopping = stopping
        self.leaving = leaving
        self.capacity = capacity
        self.deliver = deliver
        self.committed = committed
        self.log = logs.get()

    def commit(self, attempt: ActiveAttempt, ending: Ending, usage: Mapping[str, Any]) -> None:
        """Commit how an attempt ended. Waits for the store as long as needed: the ending is safe in the exit record.

        Raises CommitDeferred.
        """
        publication = self._prepare(attempt, ending)
        if isinstance(ending, Finished) and ending.outcome.state != "succeeded":
            ending = replace(ending, adjusted=self._adjusted(attempt, ending.outcome))
        delay = _COMMIT_RETRY_S[0]
        while True:
            try:
                ready, verdict = self._try_commit(attempt, ending, usage, publication)
                break
            except (StoreUnavailable, ArtifactsUnavailable, OSError, MemoryError) as problem:
                detail = problem.evidence if isinstance(problem, QmrunnerError) else str(problem) or repr(problem)
                self.log.warning("commit_waits", **log_fields(attempt), evidence=detail, retry_s=delay)
                if self.leaving.wait(delay):
                    raise CommitDeferred from None
                delay = min(delay * 2, _COMMIT_RETRY_S[1])
        if ready is None:
            self._report_fenced(attempt)
            if publication is not None:
                publication.discard()
            return
        self.committed()
        self._announce(attempt, verdict)
        self._clean(attempt, verdict, usage.get("stop_reason"))
        if ready > 1 or (ready and self.stopping.is_set()):
            self.app.queue.notify()

    def _prepare(self, attempt: ActiveAttempt, ending: Ending) -> Publication | None:
        """The files to publish with a success; for other endings send the last checkpoint first."""
        if isinstance(ending, Finished) and ending.outcome.state == "succeeded":
            if attempt.step.engine == "huey":
                return None  # what a task leaves is the application's; its result is in the store
            attempt.content_key = attempt.content_key or reuse.key_of(
                self.app, attempt
            )  # an adopted attempt has none yet
            return Publication(self.settings.jobs_root / attempt.job.id, attempt, ending.outcome, self.artifacts)
        given_up = isinstance(ending, Finished) and ending.stop_reason in ("cancel", "fenced")
        if self.checkpoints is not None and not isinstance(ending, Deferred) and not given_up:
            self.checkpoints.send_last(attempt)
        return None

    def _adjusted(self, attempt: ActiveAttempt, outcome: Outcome) -> remedies.Adjusted | None:
        failure = remedies.Failure(
            replace(attempt.step, attempt=attempt.number), outcome, attempt.grant, self.capacity()
        )
        known = self.app.engine(attempt.step.engine).remedies(attempt.step.task)
        return remedies.propose(failure, known, remedies.allowed(self.settings.remedies, attempt.job.params))

    def _report_fenced(self, attempt: ActiveAttempt) -> None:
        """Log that the attempt was fenced, and record the event: metrics count discarded attempts."""
        self.log.warning("attempt_fenced", **log_fields(attempt))
        event_fields: dict[str, Any] = {"job_id": attempt.job.id, "step": attempt.step.name, "attempt": attempt.number}
        try:
            with self.app.store.write() as connection:
                events.append(
                    connection, self.app.store.now(), "attempt_fenced", worker_id=self.worker_id, **event_fields
                )
        except StoreUnavailable as problem:
            self.log.warning("history_incomplete", **log_fields(attempt), evidence=problem.evidence)

    def _try_commit(
        self, attempt: ActiveAttempt, ending: Ending, usage: Mapping[str, Any], publication: Publication | None
    ) -> tuple[int | None, Verdict]:
        if publication is not None:
            publication.stage()
        delivered = self.deliver(attempt, ending)

        def publish(verdict: Verdict) -> None:
            if publication is not None:
                publication.record(connection, self.app.store.now())
                publication.commit()
            if self.artifacts is not None and verdict.move in ("succeed", "cancel"):
                artifact_store.forget(connection, attempt.job.id, artifact_store.CHECKPOINT, attempt.step.name)

        with self.app.store.write() as connection:
            committed = end(
                connection,
                self.app.store.now(),
                step_id=attempt.step.id,
                number=attempt.number,
                ending=ending,
                limits=limits(self.settings, attempt.step.engine),
                usage=usage,
                planner=self.app.planner,
                content_key=attempt.content_key,
                publish=publish,
                ended=self.write_result,
            )
        if delivered is not None:
            delivered()
        return committed

    def write_result(self, job: Job, steps: list[Step]) -> None:
        """The job's result.json, written inside the commit that ends the job."""
        if job.kind != "huey":  # `qmrunner result` composes it; a folder for each task would be too many
            write_job_result(self.settings.jobs_root, job, steps)
        self.log.info("job_ended", job=job.id, state=job.state, code=job.code, summary=job.summary)

    def _announce(self, attempt: ActiveAttempt, verdict: Verdict) -> None:
        log = self.log.info if verdict.move in ("succeed", "requeue", "cancel") else self.log.warning
        log(
            "step_ended",
            **log_fields(attempt),
            state=verdict.attempt_state,
            code=verdict.code,
            next=verdict.move,
            delay_s=round(verdict.delay_s, 1) or None,
            evidence=verdict.evidence.text if verdict.evidence else None,
            file=verdict.evidence.file if verdict.evidence else None,
            line=verdict.evidence.line if verdict.evidence else None,
            **{"class": verdict.failure_class, "remedy": verdict.remedy},
        )
        if verdict.adjusted is not None:
            fields = {name: verdict.adjusted.record[name] for name in ("remedy", "neutral", "change")}
            self.log.warning("step_remedied", **log_fields(attempt), **fields)

    def _clean(self, attempt: ActiveAttempt, verdict: Verdict, stop_reason: str | None) -> None:
        """Remove scratch at once after a success or cancellation; keep that of a failed attempt for its retention time.

        An attempt that was stopped to free space keeps only what it can resume from.
        """
        root = self.settings.scratch_root
        if verdict.move == "requeue" and stop_reason in REASONS:
            left = trim(attempt.directory.work, self.app.engine(attempt.step.engine), root)
        elif verdict.move == "cancel" and attempt.step.engine == "huey" and not verdict.result:
            return  # its report still reads which locks it held; the sweep removes it
        elif verdict.move in ("succeed", "cancel"):
            left = remove_tree(attempt.directory.path.parent, root)
            with suppress(OSError):
                (root / attempt.job.id).rmdir()  # only when empty
        else:
            return
        if left:
            self.log.warning("scratch_left", **log_fields(attempt), left=left[:5])
