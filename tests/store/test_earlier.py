"""How the newest attempt before one failed, as the store remembers it."""

from __future__ import annotations

from qmrunner.model.policy import Earlier, Verdict
from qmrunner.model.states import AttemptState
from qmrunner.store.attempts import last_failure
from tests.store.work import ONE, Work

ODD = Verdict("requeue", AttemptState.FAILED, "unknown", spends_retry=True, failure_class="transient", summary="odd")
STOPPED = Verdict("requeue", AttemptState.STOPPED, "stopped", summary="stopped for drain; will resume")
LOST = Verdict("requeue", AttemptState.LOST, "worker_lost", summary="its worker died; will resume")


def earlier(work: Work, step_id: int, before: int) -> Earlier | None:
    with work.store.read() as connection:
        return last_failure(connection, step_id, before)


def test_stops_and_losses_hide_no_failure_before_them(work: Work) -> None:
    work.job(ONE)
    worker = work.worker()
    for number, verdict in enumerate((STOPPED, ODD, LOST, STOPPED), 1):
        claim = work.claimed(worker)
        work.start(claim)
        assert claim.number == number
        assert earlier(work, claim.step.id, claim.number) == (Earlier(2, "unknown", "odd") if number > 2 else None)
        work.finish(claim, verdict, ONE)
    last = work.claimed(worker)
    assert earlier(work, last.step.id, last.number) == Earlier(2, "unknown", "odd")
    assert earlier(work, last.step.id + 1, last.number) is None
