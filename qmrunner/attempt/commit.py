"""The end of an attempt: the commit that makes its ending durable, and what follows from it on this machine."""

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
from qmrunner.attempt.active import Live, who
from qmrunner.attempt.checkpoints import Handover
from qmrunner.attempt.publish import Publication, write_job_result
from qmrunner.attempt.trim import shrink
from qmrunner.errors import QmrunnerError
from qmrunner.host.remove_tree import remove_tree
from qmrunner.model import remedies
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


def limits(settings: Settings) -> Limits:
    """How much is tried again here."""
    return Limits(settings.max_retries, settings.retry_delay_seconds, settings.poison_deaths, random.random())


class LeftForSuccessor(Exception):
    """The store did not answer before this process had to leave; the exit record waits for the next consumer."""


class Conclusions:
    """Ends the attempts of one consumer, each in the keeping of its exit record until it is committed.

    `stopping`: nothing is claimed any more; `leaving`: the process is about to end. `capacity` is asked when needed.
    """

    def __init__(
        self,
        app: App,
        worker_id: int,
        handover: Handover | None,
        *,
        stopping: threading.Event,
        leaving: threading.Event,
        capacity: Callable[[], Capacity],
    ) -> None:
        self.app = app
        self.settings = app.settings
        self.artifacts = app.artifacts
        self.worker_id = worker_id
        self.handover = handover
        self.stopping = stopping
        self.leaving = leaving
        self.capacity = capacity
        self.log = logs.get()

    def commit(self, live: Live, ending: Ending, usage: Mapping[str, Any]) -> None:
        """Write how an attempt ended. Waits for the store as long as it takes: the ending is safe in the exit record.

        Raises LeftForSuccessor.
        """
        publication = self._prepare(live, ending)
        if isinstance(ending, Finished) and ending.outcome.state != "succeeded":
            ending = replace(ending, remedied=self._remedied(live, ending.outcome))
        delay = _COMMIT_RETRY_S[0]
        while True:
            try:
                ready, verdict = self._try_commit(live, ending, usage, publication)
                break
            except (StoreUnavailable, ArtifactsUnavailable, OSError, MemoryError) as problem:
                detail = problem.evidence if isinstance(problem, QmrunnerError) else str(problem) or repr(problem)
                self.log.warning("commit_waits", **who(live), evidence=detail, retry_s=delay)
                if self.leaving.wait(delay):
                    raise LeftForSuccessor from None
                delay = min(delay * 2, _COMMIT_RETRY_S[1])
        if ready is None:
            self._tell_fenced(live)
            if publication is not None:
                publication.discard()
            return
        self._announce(live, verdict)
        self._clean(live, verdict, usage.get("stop_reason"))
        if ready > 1 or (ready and self.stopping.is_set()):
            self.app.queue.notify()

    def _prepare(self, live: Live, ending: Ending) -> Publication | None:
        """What is published with a success; of other endings the checkpoint is handed over first."""
        if isinstance(ending, Finished) and ending.outcome.state == "succeeded":
            live.content_key = live.content_key or reuse.key_of(self.app, live)  # an adopted attempt has none yet
            return Publication(self.settings.jobs_root / live.job.id, live, ending.outcome, self.artifacts)
        given_up = isinstance(ending, Finished) and ending.stop_reason in ("cancel", "fenced")
        if self.handover is not None and not isinstance(ending, Deferred) and not given_up:
            self.handover.leave(live)
        return None

    def _remedied(self, live: Live, outcome: Outcome) -> remedies.Remedied | None:
        failure = remedies.Failure(replace(live.step, attempt=live.number), outcome, live.grant, self.capacity())
        known = self.app.engine(live.step.engine).remedies(live.step.task)
        return remedies.propose(failure, known, remedies.allowed(self.settings.remedies, live.job.params))

    def _tell_fenced(self, live: Live) -> None:
        """For people, and for whoever counts what is thrown away."""
        self.log.warning("attempt_fenced", **who(live))
        who_and_what: dict[str, Any] = {"job_id": live.job.id, "step": live.step.name, "attempt": live.number}
        try:
            with self.app.store.write() as connection:
                events.append(
                    connection, self.app.store.now(), "attempt_fenced", worker_id=self.worker_id, **who_and_what
                )
        except StoreUnavailable as problem:
            self.log.warning("history_incomplete", **who(live), evidence=problem.evidence)

    def _try_commit(
        self, live: Live, ending: Ending, usage: Mapping[str, Any], publication: Publication | None
    ) -> tuple[int | None, Verdict]:
        if publication is not None:
            publication.stage()

        def publish(verdict: Verdict) -> None:
            if publication is not None:
                publication.record(connection, self.app.store.now())
                publication.commit()
            if self.artifacts is not None and verdict.move in ("succeed", "cancel"):
                artifact_store.forget(connection, live.job.id, artifact_store.CHECKPOINT, live.step.name)

        with self.app.store.write() as connection:
            return end(
                connection,
                self.app.store.now(),
                step_id=live.step.id,
                number=live.number,
                ending=ending,
                limits=limits(self.settings),
                usage=usage,
                planner=self.app.plan,
                content_key=live.content_key,
                publish=publish,
                ended=self.write_result,
            )

    def write_result(self, job: Job, steps: list[Step]) -> None:
        """The job's result.json, written inside the commit that ends the job."""
        write_job_result(self.settings.jobs_root, job, steps)
        self.log.info("job_ended", job=job.id, state=job.state, code=job.code, summary=job.summary)

    def _announce(self, live: Live, verdict: Verdict) -> None:
        say = self.log.info if verdict.move in ("succeed", "requeue", "cancel") else self.log.warning
        say(
            "step_ended",
            **who(live),
            state=verdict.attempt_state,
            code=verdict.code,
            next=verdict.move,
            delay_s=round(verdict.delay_s, 1) or None,
            evidence=verdict.evidence.text if verdict.evidence else None,
            file=verdict.evidence.file if verdict.evidence else None,
            line=verdict.evidence.line if verdict.evidence else None,
            **{"class": verdict.failure_class, "remedy": verdict.remedy},
        )
        if verdict.remedied is not None:
            told = {name: verdict.remedied.record[name] for name in ("remedy", "neutral", "change")}
            self.log.warning("step_remedied", **who(live), **told)

    def _clean(self, live: Live, verdict: Verdict, stop_reason: str | None) -> None:
        """Scratch goes at once where nobody will want it again; a failed attempt's stays for its retention time.

        Who was stopped to make room keeps only what it can resume from.
        """
        root = self.settings.scratch_root
        if verdict.move == "requeue" and stop_reason in REASONS:
            left = shrink(live.folder.work, self.app.engine(live.step.engine), root)
        elif verdict.move in ("succeed", "cancel"):
            left = remove_tree(live.folder.path.parent, root)
            with suppress(OSError):
                (root / live.job.id).rmdir()  # only when empty
        else:
            return
        if left:
            self.log.warning("scratch_left", **who(live), left=left[:5])
