"""Taking over what an earlier consumer of this home left: living attempts, ended ones, dead ones.

Whoever holds the home's lock succeeds every earlier worker of that home. Living guardians are connected to, exit
records are committed, and attempts that are proven dead are requeued, all of them in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from qmrunner.attempt.active import Live, who
from qmrunner.attempt.commit import limits
from qmrunner.attempt.directory import AttemptFolder
from qmrunner.guardian import process_tree
from qmrunner.guardian.process_identity import Identity
from qmrunner.host.threads import try_to_start
from qmrunner.model.jobs import Grant, Job, Step
from qmrunner.model.policy import Lost
from qmrunner.store import jobs as job_store
from qmrunner.store import workers
from qmrunner.store.finish import end
from qmrunner.worker.claim_loop import Worker

_NAMED = 20


def adopt(worker: Worker) -> None:
    """Call once, before the first claim. Raises QmrunnerError when the store does not answer."""
    found = _take_over(worker)
    worker.tails.finish_all_but({(live.label, live.number) for live in found})
    _go_on(worker, found)


def reclaim(worker: Worker, pause_s: float) -> None:
    """Go on with attempts that are this worker's in the store and in no thread's hands: the commit of their claim got
    through, and the answer that it had did not. Looks twice, `pause_s` apart, for a thread may be about to take one.

    Raises QmrunnerError when the store does not answer.
    """
    first = {(live.step.id, live.number) for live in _unheld(worker)}
    if first and not worker.leaving.wait(pause_s):
        _go_on(worker, [live for live in _unheld(worker) if (live.step.id, live.number) in first])


def _unheld(worker: Worker) -> list[Live]:
    # What is in hand is looked at first: who ends an attempt meanwhile has committed it before he lets go of it.
    held = {(live.step.id, live.number) for live in worker.live.all()}
    with worker.app.store.read() as connection:
        found = _ours(connection, worker)
    return [live for live in found if (live.step.id, live.number) not in held]


def _go_on(worker: Worker, found: list[Live]) -> None:
    if not found:
        return
    # A spawn that the dead consumer asked for is answered before this question.
    worker.runner.spawner_settled()
    dead: list[Live] = []
    for live in found:
        state = _state_of(live)
        if state == "dead":
            dead.append(live)
        else:
            worker.log.info("attempt_adopted", **who(live), found=state)
            if not try_to_start(f"adopted-{live.label}", partial(_carry, worker, live)):
                worker.claim_unsure.set()  # the beat comes back to it
    _release(worker, dead)


def _take_over(worker: Worker) -> list[Live]:
    home_id = worker.app.home_id()
    with worker.app.store.write() as connection:
        old = workers.of_home(connection, home_id, but=worker.worker_id)
        workers.take_over(connection, old, worker.worker_id)
        for one in old:
            workers.retire(connection, one, worker.app.store.now())
        return _ours(connection, worker)


def _ours(connection: Connection, worker: Worker) -> list[Live]:
    rows = workers.live_attempts(connection, [worker.worker_id])
    jobs = job_store.get_all(connection, {row["job_id"] for row in rows})
    steps = job_store.all_steps(connection, {row["step_id"] for row in rows})
    return [_from_row(row, jobs[row["job_id"]], steps[row["step_id"]]) for row in rows]


def _state_of(live: Live) -> str:
    """`living`, `ended` (an exit record waits) or `dead`; a dead attempt is fenced on the way."""
    if live.folder.exit_record() is not None and not live.folder.guardian_lives():
        return "ended"
    if live.folder.fence_if_dead():
        return "ended" if live.folder.exit_record() is not None else "dead"
    return "living"


def _carry(worker: Worker, live: Live) -> None:
    worker.carry(live, fresh=False)
    worker.hint_if_more()


def _release(worker: Worker, dead: list[Live]) -> None:
    """Requeue attempts whose guardians are gone: one search for survivors of all, one transaction for all."""
    if not dead:
        return
    if not process_tree.end_marked(*(live.marker for live in dead)):
        worker.log.error("survivors", remedy="processes of dead attempts cannot be killed; see ps")
    now = worker.app.store.now()
    boot = process_tree.boot_id()
    with worker.app.store.write() as connection:
        for live in dead:
            end(
                connection,
                now,
                step_id=live.step.id,
                number=live.number,
                ending=Lost(_owner_lost(live, boot)),
                limits=limits(worker.settings),
                usage={},
                planner=worker.app.plan,
                ended=worker.conclusions.write_result,
            )
    for live in dead:
        worker.tails.finish(live.label, live.number)
        live.close()
    shown = [f"{live.label}/{live.number}" for live in dead[:_NAMED]]
    worker.log.info("dead_attempts_released", count=len(dead), attempts=shown)


def _owner_lost(live: Live, boot: str) -> str:
    """What took the attempt down. A reboot, or a death before the engine began, is not held against the step."""
    identity = live.folder.guardian_identity()
    if identity is None:
        return "worker" if live.begun else "claim"
    return "worker" if identity.boot_id == boot else "machine"


def _from_row(row: Mapping[str, Any], job: Job, step: Step) -> Live:
    known = Identity.from_dict(row["guardian"]) if row["guardian"] else None
    return Live(
        job=job,
        step=replace(step, attempt=row["number"]),
        number=row["number"],
        grant=Grant(**row["granted"]),
        folder=AttemptFolder(Path(row["directory"]), known),
        log=Path(row["log"]),
        marker=row["marker"],
        since=row["created_at"],
        begun=known is not None,
    )
