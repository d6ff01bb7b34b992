"""Any number of users with jobs of any size: shares are fair, no user waits for ever, and one user's jobs keep
order."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmrunner.model.jobs import Demand
from qmrunner.model.packing import MAX_SKIPS, Capacity
from qmrunner.store.claims import Claim
from qmrunner.store.session import Store
from qmrunner.store.tables import metadata
from tests.sampling import examples
from tests.store.work import Work, Workflow, spec

HERE = Capacity(slots=4, cores=4, memory_mib=8000)
OWNERS = ("ada", "bob", "eve")
LONGEST = 4  # rounds that an attempt takes at most
# Passed over eight times, each time a whole attempt may go by; and again for those in front that fared the same.
ROUNDS = 60
thorough = settings(max_examples=examples(25, 3), deadline=None, database=None, suppress_health_check=list(HealthCheck))
sizes = st.integers(1, HERE.cores)
owners = st.sampled_from(OWNERS)


@contextmanager
def a_store() -> Iterator[Work]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="qmrunner-shares-", dir=memory) as folder:
        store = Store(f"sqlite:///{Path(folder) / 'store.db'}")
        metadata.create_all(store.engine)
        yield Work(store)
        store.close()


def submit(work: Work, owner: str, cores: int) -> str:
    return work.job(Workflow(spec("a", demand=Demand(cores, cores, 0, 0))), owner=owner)


@thorough
@given(st.data())
def test_a_step_of_any_size_starts_at_last_however_much_others_submit(data: st.DataObject) -> None:
    """Everybody else always has more to do, and everything ends some time: the one that waits gets its turn."""
    with a_store() as work:
        worker = work.worker(HERE)
        live: list[tuple[Claim, int]] = []
        others = st.integers(1, data.draw(sizes))
        for _ in range(data.draw(st.integers(0, 6))):
            submit(work, data.draw(owners), data.draw(sizes))
        while claim := work.claim(worker, HERE):
            live.append((claim, LONGEST * 3))  # what runs already may run for long, the user's own steps too
        job = submit(work, "ada", data.draw(sizes))
        for _ in range(ROUNDS):
            for owner in OWNERS:
                submit(work, owner, data.draw(others))
            while claim := work.claim(worker, HERE):
                if claim.job.id == job:
                    return
                live.append((claim, data.draw(st.integers(1, LONGEST))))
            for claim, left in live:
                if left <= 1:
                    work.finish(claim, workflow=Workflow(spec("a")))
            live = [(claim, left - 1) for claim, left in live if left > 1]
        raise AssertionError(f"{job} did not start within {ROUNDS} rounds")


@thorough
@given(st.lists(st.tuples(owners, st.booleans()), min_size=2, max_size=30), st.data())
def test_equal_steps_of_one_user_start_in_the_order_of_submission(
    asked: list[tuple[str, bool]], data: st.DataObject
) -> None:
    with a_store() as work:
        worker, live = work.worker(HERE), list[Claim]()
        submitted: dict[str, list[str]] = defaultdict(list)
        started: dict[str, list[str]] = defaultdict(list)
        owner_of: dict[str, str] = {}

        def claim_all() -> None:
            while claim := work.claim(worker, HERE):
                started[owner_of[claim.job.id]].append(claim.job.id)
                live.append(claim)

        for owner, claims_now in asked:
            job = submit(work, owner, 2)
            submitted[owner].append(job)
            owner_of[job] = owner
            if claims_now:
                claim_all()
        claim_all()
        while live:
            work.finish(live.pop(data.draw(st.integers(0, len(live) - 1))), workflow=Workflow(spec("a")))
            claim_all()
        assert started == submitted


@thorough
@given(st.lists(owners, min_size=1, max_size=12), st.data())
def test_who_holds_fewest_cores_goes_first(before: list[str], data: st.DataObject) -> None:
    """Everybody waits with equal steps: whatever runs, the next step is of a user who holds no more than any other,
    or has been passed over too often."""
    with a_store() as work:
        worker = work.worker(HERE)
        running: dict[str, int] = dict.fromkeys(OWNERS, 0)
        live: list[Claim] = []
        handed_in = [*before, *OWNERS * 8]
        for owner in handed_in:
            submit(work, owner, 1)
        waiting = {owner: handed_in.count(owner) for owner in OWNERS}
        for _ in range(16):
            if len(live) == HERE.slots:
                ended = live.pop(data.draw(st.integers(0, len(live) - 1)))
                running[ended.job.owner or ""] -= 1
                work.finish(ended, workflow=Workflow(spec("a")))
            claim = work.claimed(worker, HERE)
            fewest = min(running[owner] for owner in OWNERS if waiting[owner])
            assert running[claim.job.owner or ""] == fewest or claim.step.skips >= MAX_SKIPS
            waiting[claim.job.owner or ""] -= 1
            running[claim.job.owner or ""] += 1
            live.append(claim)
