"""Two workers on one machine, jobs of any size, others' files, growing reservations: nothing is given out twice."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from qmrunner.model.disk_space import QUOTA, FreeSpace
from qmrunner.model.jobs import Demand
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.model.states import AttemptState
from qmrunner.store import reservations as store_reservations
from qmrunner.store.claims import Claim
from qmrunner.store.session import Store
from qmrunner.store.tables import metadata, reservations
from tests.sampling import examples
from tests.store.work import SUCCEED, Work, Workflow, spec

SCRATCH_MIB, SHM_MIB = 1000, 100
HERE = Capacity(3, 4, 3000, SCRATCH_MIB, SHM_MIB, "boot 1", "boot 2")
STOPPED = Verdict("requeue", AttemptState.STOPPED, "stopped")
demands = st.builds(
    Demand,
    cores_min=st.integers(1, 2),
    cores_max=st.integers(2, 4),
    memory_mib_per_core=st.integers(0, 800),
    memory_mib_base=st.integers(0, 800),
    scratch_mib=st.integers(1, 900),
    shm_mib=st.integers(0, 90),
)


class Machine(RuleBasedStateMachine):
    """The volumes are modelled: what attempts and others have written is known, and what is really free follows."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.TemporaryDirectory(prefix="qmrunner-reservations-", dir=memory)
        self.store = Store(f"sqlite:///{Path(self.folder.name) / 'store.db'}")
        metadata.create_all(self.store.engine)
        self.work = Work(self.store)
        self.workers = [self.work.worker(HERE, f"home{i}") for i in range(2)]
        self.live: dict[tuple[int, int], Claim] = {}
        self.held: dict[tuple[int, int], int] = {}  # scratch reserved
        self.written: dict[tuple[int, int], int] = {}
        self.others = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @property
    def free(self) -> int:
        return SCRATCH_MIB - self.others - sum(self.written.values())

    @property
    def room(self) -> FreeSpace:
        return FreeSpace(scratch_mib=self.free)

    @rule(demand=demands)
    def submit(self, demand: Demand) -> None:
        self.work.job(Workflow(spec("a", demand=demand)))

    @rule(who=st.integers(0, 1))
    def claim(self, who: int) -> None:
        claim = self.work.claim(self.workers[who], HERE, self.room)
        if claim is not None:
            key = (claim.step.id, claim.number)
            self.live[key], self.held[key], self.written[key] = claim, claim.grant.scratch_mib, 0
            promised = sum(max(0, self.held[one] - self.written[one]) for one in self.live)
            assert promised <= self.free, "an attempt may meet a full disk within its reservation"

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """An engine writes within its reservation; the beat may or may not have reported it yet."""
        key = data.draw(st.sampled_from(sorted(self.live)))
        more = data.draw(st.integers(0, max(0, self.held[key] - self.written[key])))
        self.written[key] += min(more, max(0, self.free))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.live)))
        self.work.uses(self.live[key], scratch_mib=float(self.written[key]))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), more=st.integers(1, 600))
    def grow(self, data: st.DataObject, more: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.live)))
        claim = self.live[key]
        with self.store.write() as connection:
            granted = store_reservations.grow(
                connection, step_id=key[0], number=key[1], worker_id=claim.worker_id,
                scratch_mib=self.held[key] + more, capacity=HERE, free_space=self.room,
            )  # fmt: skip
        if granted is not None:
            assert self.held[key] < granted <= self.held[key] + more
            self.held[key] = granted

    @precondition(lambda self: self.live)
    @rule(data=st.data(), stopped=st.booleans())
    def finish(self, data: st.DataObject, stopped: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.live)))
        usage = {"stop_reason": QUOTA, "peak_scratch_mib": self.held[key] + 1.0} if stopped else {}
        self.work.finish(self.live.pop(key), STOPPED if stopped else SUCCEED, usage=usage)
        del self.held[key], self.written[key]

    @rule(to=st.integers(0, SCRATCH_MIB))
    def others_write_or_delete(self, to: int) -> None:
        """Only into unreserved space: the hard mark handles reserved space taken by other programs."""
        promised = sum(self.held.values())
        self.others = min(to, max(0, SCRATCH_MIB - promised))

    @invariant()
    def nothing_is_given_out_twice(self) -> None:
        with self.store.read() as connection:
            rows = list(connection.execute(select(reservations)))
        assert {(row.step_id, row.attempt): row.scratch_mib for row in rows} == self.held
        assert sum(row.scratch_mib for row in rows) <= SCRATCH_MIB
        assert sum(row.shm_mib for row in rows) <= SHM_MIB
        for worker in self.workers:
            own = [row for row in rows if row.worker_id == worker]
            assert len(own) <= HERE.slots
            assert sum(row.cores for row in own) <= HERE.cores
            assert sum(row.memory_mib for row in own) <= HERE.memory_mib


def test_the_sum_of_reservations_never_exceeds_the_machine_under_any_interleaving() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(40, 3),
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
