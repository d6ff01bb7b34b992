"""Actions on many jobs: the plan lists what will and will not move, and why; the moves are those of single jobs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qmrunner.model.job_filter import JobFilter
from qmrunner.store import bulk, events, workers
from tests.store.work import FAIL, Work


@pytest.fixture
def crowd(work: Work) -> list[str]:
    """Sixty jobs of one group: two failed, one held, the others queued."""
    made = [work.job(group="g") for _ in range(60)]
    worker = work.worker()
    for _ in range(2):
        work.finish(work.claimed(worker), FAIL)
    work.ask("hold", made[10])
    return made


def done(work: Work, verb: str, planned: bulk.Planned, by: str | None = "alice", priority: int = 0) -> list[str]:
    moved: list[str] = []
    for piece in bulk.pieces(planned.moves):
        assert len(piece) <= bulk.AT_ONCE
        jobs, skipped = bulk.move(work.store, verb, piece, by=by, priority=priority)
        moved += [job.id for job in jobs]
        assert skipped == []
    return moved


def planned(work: Work, verb: str, ids: Sequence[str] | None = None) -> bulk.Planned:
    with work.store.read() as connection:
        if ids is not None:
            return bulk.chosen(connection, verb, ids)
        return bulk.matching(connection, verb, JobFilter(groups=("g",)))


def test_a_plan_counts_by_state_and_gives_the_reason_of_each_job_that_stays(work: Work, crowd: list[str]) -> None:
    found = planned(work, "cancel")
    assert found.states == {"queued": 57, "held": 1}
    assert {row["state"] for row in found.skipped} == {"failed"}
    assert len(found.skipped) == 2
    assert "needs it to be queued or running or held" in found.skipped[0]["reason"]
    assert planned(work, "release").states == {"held": 1}
    assert planned(work, "retry").states == {"failed": 2}


def test_all_planned_jobs_are_moved_and_the_event_names_the_person(work: Work, crowd: list[str]) -> None:
    moved = done(work, "cancel", planned(work, "cancel"))
    assert len(moved) == 58
    assert {work.state(job)[0] for job in moved} == {"cancelled"}
    with work.store.read() as connection:
        (asked,) = [row for row in events.of_job(connection, moved[0]) if row["event"] == "cancel_requested"]
    assert asked["data"] == {"by": "alice"}
    assert planned(work, "cancel").moves == ()


def test_a_job_that_changed_meanwhile_stays_and_the_others_are_moved(work: Work, crowd: list[str]) -> None:
    found = planned(work, "hold", [crowd[20], crowd[21], "nothing", crowd[20]])
    assert found.moves == (crowd[20], crowd[21])
    assert found.skipped[0]["reason"] == "there is no such job"
    work.ask("cancel", crowd[21])
    jobs, skipped = bulk.move(work.store, "hold", found.moves, by=None)
    assert [job.id for job in jobs] == [crowd[20]]
    assert [row["id"] for row in skipped] == [crowd[21]]
    assert work.state(crowd[20])[0] == "held"


def test_a_new_priority_reaches_the_steps_that_wait(work: Work, crowd: list[str]) -> None:
    assert done(work, "priority", planned(work, "priority", [crowd[40]]), priority=5) == [crowd[40]]
    assert work.step(crowd[40], "a").priority == 5
    assert work.claimed(work.worker()).step.job_id == crowd[40]


def test_a_filter_of_more_jobs_than_one_action_moves_is_marked(
    work: Work, crowd: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST", 50)
    found = planned(work, "cancel")
    assert found.more
    assert len(found.moves) + len(found.skipped) == 50


def test_pauses_and_drains_name_the_person(work: Work) -> None:
    work.worker()
    with work.store.write() as connection:
        workers.set_paused(connection, work.now, True, by="alice")
        workers.set_drain(connection, work.now, "home", True, by="bob")
    with work.store.read() as connection:
        found = {row["event"]: row["data"] for row in events.all_since(connection, 0, 100)}
    assert (found["paused"], found["drain_requested"]) == ({"by": "alice"}, {"by": "bob"})
