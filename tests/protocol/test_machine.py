"""Claim, start, finish, lose, take over, and what people ask for, in any order: the protocol as a state machine."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url

from qmrunner.errors import QmrunnerError
from qmrunner.model import policy
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.model.states import ATTEMPT_LIVE, JOB_FINAL, STEP_LIVE, AttemptState
from qmrunner.store import jobs as job_store
from qmrunner.store import workers
from qmrunner.store.claims import Claim
from qmrunner.store.finish import end
from qmrunner.store.session import Store
from qmrunner.store.tables import attempts, jobs, metadata, reservations, steps
from tests.sampling import examples
from tests.store.work import CHAIN, FAIL, HOLD, ONE, REQUEUE, SUCCEED, Lazy, Staged, Work, Workflow, spec

SMALL = Capacity(slots=2, cores=2, memory_mib=4000)
WORKFLOWS = {
    "one": ONE,
    "chain": CHAIN,
    "lazy": Lazy(spec("a"), spec("b", ["a"])),
    "staged": Staged(),
    "wide": Workflow(spec("a"), spec("b"), spec("c", ["a", "b"])),
}
LATER = Verdict("requeue", AttemptState.FAILED, "crash", delay_s=5.0, spends_retry=True, failure_class="transient")
LIMITS = policy.Limits(9, 5.0, poison_deaths=3)
VERDICTS = {
    "succeed": SUCCEED, "fail": FAIL, "requeue": REQUEUE, "later": LATER, "hold": HOLD,
    "lost": policy.decide(policy.Lost("guardian"), policy.History(), LIMITS),
}  # fmt: skip


class Refused(Exception):
    """A publication that fails."""


class Protocol(RuleBasedStateMachine):
    """Every claim ever made is kept, so that those long fenced off act again and again."""

    url = ""
    claims_made = Bundle("claims_made")

    def __init__(self) -> None:
        super().__init__()
        self.folder = None
        url = self.url
        if not url:
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self.folder = tempfile.TemporaryDirectory(prefix="qmrunner-protocol-", dir=memory)
            url = f"sqlite:///{Path(self.folder.name) / 'store.db'}"
        self.store = Store(url)
        metadata.drop_all(self.store.engine)
        metadata.create_all(self.store.engine)
        self.work = Work(self.store)
        self.workers = [self.work.worker(SMALL, f"home{i}") for i in range(3)]
        self.everybody = list(self.workers)
        self.planners: dict[str, Workflow] = {}
        self.wins: dict[int, int] = {}
        self.ended: dict[str, str] = {}
        self.submit("one", 0)

    def teardown(self) -> None:
        try:
            self.every_job_can_reach_its_end()
        finally:
            self.store.close()
            if self.folder is not None:
                self.folder.cleanup()

    # -- acts -------------------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(sorted(WORKFLOWS)), priority=st.integers(0, 1))
    def submit(self, kind: str, priority: int) -> None:
        if len(self.planners) < 4:
            job = self.work.job(WORKFLOWS[kind], priority)
            self.planners[job] = WORKFLOWS[kind]

    @rule(target=claims_made, who=st.integers(0, 2))
    def claim(self, who: int) -> Claim | MultipleResults[Claim]:
        made = self.work.claim(self.workers[who], SMALL)
        return multiple() if made is None else made

    @rule(target=claims_made, claim=claims_made, who=st.integers(0, 2))
    def superseded(self, claim: Claim, who: int) -> Claim | MultipleResults[Claim]:
        """The step of an attempt is requeued and claimed again: the first claim is stale from then on."""
        if not self.owns(claim, STEP_LIVE):
            return multiple()
        self.finish(claim, "requeue", False)
        return self.claim(who)

    @rule(claim=claims_made)
    def start(self, claim: Claim) -> None:
        owned = self.owns(claim, ("claimed",))
        assert self.work.start(claim) is owned

    @rule(claim=claims_made, what=st.sampled_from(sorted(VERDICTS)), broken=st.booleans())
    def finish(self, claim: Claim, what: str, broken: bool) -> None:
        verdict = VERDICTS[what]
        with self.store.read() as connection:
            cancelled = job_store.get(connection, claim.job.id).cancel_requested
        if cancelled and verdict.move != "succeed":
            verdict = policy.decide(policy.Lost("worker"), policy.History(cancel_requested=True), LIMITS)
        owned = self.owns(claim, STEP_LIVE)
        before = None if owned and not broken else self.work.everything()
        published: list[int] = []

        def publish() -> None:
            published.append(claim.number)
            if broken:
                raise Refused

        try:
            ready = self.work.finish(claim, verdict, self.planners[claim.job.id], publish=publish)
        except Refused:
            assert owned
            assert self.work.everything() == before
            return
        if not owned:
            assert (ready, published) == (None, [])
            assert self.work.everything() == before
            return
        assert ready is not None
        assert published == [claim.number]
        if verdict.move == "succeed":
            assert claim.step.id not in self.wins
            self.wins[claim.step.id] = claim.number

    @rule(who=st.integers(0, 2), crash=st.booleans())
    def judged_dead_and_released_by_another(self, who: int, crash: bool) -> None:
        worker = self.workers[who]
        with self.store.write() as connection:
            beat = next(row["beat"] for row in workers.all_workers(connection, ended=True) if row["id"] == worker)
            workers.declare_lost(connection, self.work.now, worker, beat)
        self.workers[who] = self.work.worker(SMALL, f"elsewhere{len(self.everybody)}")
        self.everybody.append(self.workers[who])
        if not crash:  # the judge itself lived on
            self.release_what_the_dead_left()

    @rule()
    def release_what_the_dead_left(self) -> None:
        with self.store.read() as connection:
            left = workers.live_attempts(connection, workers.dead_with_attempts(connection))
        self.release(left)

    @rule(who=st.integers(0, 2), goodbye=st.booleans())
    def restarted_at_home(self, who: int, goodbye: bool) -> None:
        """The next daemon of a home takes over, whether or not the last one ended in order."""
        old = self.workers[who]
        with self.store.write() as connection:
            home = next(r["home_id"] for r in workers.all_workers(connection, ended=True) if r["id"] == old)
            if goodbye:
                workers.set_state(connection, old, "stopped")
        new = self.workers[who] = self.work.worker(SMALL, home)
        with self.store.write() as connection:
            before = workers.of_home(connection, home, but=new)
            workers.take_over(connection, before, new)
            for one in before:
                workers.retire(connection, one, self.work.now)
            assert workers.live_attempts(connection, [*before, old]) == []

    @rule(verb=st.sampled_from(["cancel", "retry", "hold", "release"]), data=st.data())
    def ask(self, verb: str, data: st.DataObject) -> None:
        if not self.planners:
            return
        job = data.draw(st.sampled_from(sorted(self.planners)))
        try:
            self.work.ask(verb, job)
        except QmrunnerError:
            return
        if verb == "retry":
            self.ended.pop(job, None)

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.work.now += seconds

    # -- what holds -------------------------------------------------------------------------------------------------

    @invariant()
    def one_live_attempt_per_owned_step_and_its_reservation(self) -> None:
        with self.store.read() as connection:
            live = connection.execute(
                select(attempts.c.step_id, attempts.c.number).where(attempts.c.state.in_(ATTEMPT_LIVE))
            ).all()
            owned = connection.execute(select(steps.c.id, steps.c.attempt).where(steps.c.state.in_(STEP_LIVE))).all()
            held = connection.execute(select(reservations.c.step_id, reservations.c.attempt)).all()
        assert sorted(map(tuple, live)) == sorted(map(tuple, owned)) == sorted(map(tuple, held))

    @invariant()
    def no_final_state_is_left_but_by_retry(self) -> None:
        with self.store.read() as connection:
            now = {row.id: row.state for row in connection.execute(select(jobs.c.id, jobs.c.state))}
        for job, state in self.ended.items():
            assert now[job] == state
        self.ended = {job: state for job, state in now.items() if state in JOB_FINAL}

    @invariant()
    def no_worker_gives_more_than_it_has(self) -> None:
        with self.store.read() as connection:
            held = connection.execute(select(reservations)).all()
        # After a take-over a worker may hold what its predecessors held, never more than they could.
        assert sum(row.cores for row in held) <= len(held) * SMALL.cores

    def owns(self, claim: Claim, states: object) -> bool:
        with self.store.read() as connection:
            row = connection.execute(select(steps.c.attempt, steps.c.state).where(steps.c.id == claim.step.id)).one()
        return row.attempt == claim.number and row.state in states  # type: ignore[operator]

    def release(self, left: list[dict]) -> None:
        for row in left:
            with self.store.write() as connection:
                end(
                    connection, self.work.now, step_id=row["step_id"], number=row["number"],
                    ending=policy.Lost("machine"), limits=LIMITS, usage={}, planner=self.planners[row["job_id"]],
                )  # fmt: skip

    def every_job_can_reach_its_end(self) -> None:
        """Given one healthy worker, time, and a person who releases what is held."""
        with self.store.read() as connection:
            everybody = [row["id"] for row in workers.all_workers(connection, ended=True)]
            left = workers.live_attempts(connection, everybody)
        self.release(left)
        self.work.now += 1e6
        healthy = self.work.worker(SMALL, "last")
        for _ in range(60):
            for job in self.planners:
                if self.work.state(job)[0] == "held":
                    self.work.ask("release", job)
            claim = self.work.claim(healthy, SMALL)
            if claim is None:
                break
            self.work.finish(claim, SUCCEED, self.planners[claim.job.id])
        states = {job: self.work.state(job) for job in self.planners}
        assert all(state in JOB_FINAL for state, _ in states.values()), states
        assert self.work.reserved() == []


CHECKS = settings(
    max_examples=examples(60, 3),
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_no_order_of_acts_breaks_the_protocol_on_sqlite() -> None:
    run_state_machine_as_test(Protocol, settings=CHECKS)


def test_no_order_of_acts_breaks_the_protocol_on_postgresql(postgres_server: str) -> None:
    name = f"qmrunner_protocol_{uuid.uuid4().hex[:12]}"
    url = make_url(postgres_server).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        there = url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
        machine = type("OnPostgres", (Protocol,), {"url": there})
        run_state_machine_as_test(machine, settings=settings(CHECKS, max_examples=examples(10, 3)))
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()
