"""Adopts the attempts that an earlier consumer of this home left: living, ended and dead ones.

The holder of the home's lock succeeds every earlier worker of that home. The worker connects to living guardians,
commits exit records, and requeues attempts that are proven dead, all dead ones in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from qmrunner.attempt.active import ActiveAttempt, log_fields
from qmrunner.attempt.commit import limits
from qmrunner.attempt.directory import AttemptDirectory
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.host.threads import try_to_start
from qmrunner.model import app_tasks
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.model.policy import Lost
from qmrunner.store import jobs as job_store
from qmrunner.store import workers
from qmrunner.store.finish import end
from qmrunner.worker.claim_loop import Worker

_NAMED = 20


def adopt(worker: Worker) -> None:
    """Call once, before the first claim. Raises QmrunnerError when the store does not answer."""
    attempts = _take_over(worker)
    worker.log_registry.finish_all_but({(attempt.label, attempt.number) for attempt in attempts})
    _resume(worker, attempts)


def reclaim(worker: Worker, pause_s: float) -> None:
    """Resume attempts that the store assigns to this worker but no thread runs: the reply to their claim's commit was
    lost. Checks twice, `pause_s` apart, because a thread may be about to run one.

    Raises QmrunnerError when the store does not answer.
    """
    first = {(attempt.step.id, attempt.number) for attempt in _without_thread(worker)}
    if first and not worker.leaving.wait(pause_s):
        _resume(worker, [attempt for attempt in _without_thread(worker) if (attempt.step.id, attempt.number) in first])


def _without_thread(worker: Worker) -> list[ActiveAttempt]:
    # Read the in-memory set before the store: a thread commits an attempt before dropping it, so a finished one never
    # looks unowned.
    held = {(attempt.step.id, attempt.number) for attempt in worker.active.all()}
    with worker.app.store.read() as connection:
        attempts = _ours(connection, worker)
    return [attempt for attempt in attempts if (attempt.step.id, attempt.number) not in held]


def _resume(worker: Worker, attempts: list[ActiveAttempt]) -> None:
    if not attempts:
        return
    # An app host answers once it has imported its application; what outlived a killed host computes until then.
    tasks = [attempt for attempt in attempts if attempt.step.engine == app_tasks.ENGINE]
    if markers := [attempt.marker for attempt in tasks if _state_of(attempt) == "dead"]:
        process_tree.end_marked(*markers)
    # A spawn that the dead consumer requested is answered before this request.
    worker.runner.wait_for_orphans(*attempts)
    dead: list[ActiveAttempt] = []
    for attempt in attempts:
        state = _state_of(attempt)
        if state == "dead":
            dead.append(attempt)
        else:
            worker.log.info("attempt_adopted", **log_fields(attempt), found=state)
            if not try_to_start(f"adopted-{attempt.label}", partial(_run, worker, attempt)):
                worker.claim_unsure.set()  # the heartbeat tries again
    _release(worker, dead)


def _take_over(worker: Worker) -> list[ActiveAttempt]:
    home_id = worker.app.home_id()
    with worker.app.store.write() as connection:
        old = workers.of_home(connection, home_id, but=worker.worker_id)
        workers.take_over(connection, old, worker.worker_id)
        for worker_id in old:
            workers.retire(connection, worker_id, worker.app.store.now())
        return _ours(connection, worker)


def _ours(connection: Connection, worker: Worker) -> list[ActiveAttempt]:
    rows = workers.live_attempts(connection, [worker.worker_id])
    jobs = job_store.get_all(connection, {row["job_id"] for row in rows})
    steps = job_store.all_steps(connection, {row["step_id"] for row in rows})
    return [_from_row(row, jobs[row["job_id"]], steps[row["step_id"]]) for row in rows]


def _state_of(attempt: ActiveAttempt) -> str:
    """`living`, `ended` (an exit record waits) or `dead`; also fences a dead attempt."""
    if attempt.directory.exit_record() is not None and not attempt.directory.guardian_lives():
        return "ended"
    if attempt.directory.fence_if_dead():
        return "ended" if attempt.directory.exit_record() is not None else "dead"
    return "living"


def _run(worker: Worker, attempt: ActiveAttempt) -> None:
    worker.run(attempt, fresh=False)
    worker.hint_if_more()


def _release(worker: Worker, dead: list[ActiveAttempt]) -> None:
    """Requeue attempts whose guardians are gone: one search for survivors and one transaction for all."""
    if not dead:
        return
    if not process_tree.end_marked(*(attempt.marker for attempt in dead)):
        worker.log.error("survivors", remedy="processes of dead attempts cannot be killed; see ps")
    now = worker.app.store.now()
    boot = process_tree.boot_id()
    with worker.app.store.write() as connection:
        for attempt in dead:
            end(
                connection,
                now,
                step_id=attempt.step.id,
                number=attempt.number,
                ending=Lost(_cause_of_loss(attempt, boot)),
                limits=limits(worker.settings),
                usage={},
                planner=worker.app.planner,
                ended=worker.committer.write_result,
            )
    for attempt in dead:
        worker.log_registry.finish(attempt.label, attempt.number)
        attempt.close()
    shown = [f"{attempt.label}/{attempt.number}" for attempt in dead[:_NAMED]]
    worker.log.info("dead_attempts_released", count=len(dead), attempts=shown)


def _cause_of_loss(attempt: ActiveAttempt, boot: str) -> str:
    """The cause of the loss. A reboot, or a death before the engine began, does not count against the step."""
    identity = attempt.directory.guardian_identity()
    if identity is None:
        return "worker" if attempt.begun else "claim"
    return "worker" if identity.boot_id == boot else "machine"


def _from_row(row: Mapping[str, Any], job: Job, step: Step) -> ActiveAttempt:
    known = Identity.from_dict(row["guardian"]) if row["guardian"] else None
    return ActiveAttempt(
        job=job,
        step=replace(step, attempt=row["number"]),
        number=row["number"],
        grant=Grant(**row["granted"]),
        directory=AttemptDirectory(Path(row["directory"]), known),
        log=Path(row["log"]),
        marker=row["marker"],
        since=row["created_at"],
        begun=known is not None,
    )
