"""A small world on the real store's functions: workers that crash, freeze, skew and lose the store, drawn from a seed.

One schedule is one transaction that is rolled back at its end; every act of the protocol is a savepoint in it, so a
crash before a commit is a rollback to the savepoint. Time is a number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from qmrunner.errors import QmrunnerError
from qmrunner.model.failure_detector import FailureDetector
from qmrunner.model.jobs import Outcome, Submission
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Deferred, Ending, Finished, Limits, Lost, Verdict
from qmrunner.model.states import ATTEMPT_LIVE, JOB_FINAL, StepState
from qmrunner.store import claims, operator_actions, ready_steps, workers
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import accept
from qmrunner.store.claims import Claim
from qmrunner.store.finish import end
from qmrunner.store.tables import attempts, jobs, reservations, steps
from tests.store.work import CHAIN, ONE, PATHS, Lazy, Staged, Workflow, spec

LEASE_S, HEARTBEAT_S, TICK_S = 4.0, 1.0, 1.0
SLOTS = Capacity(slots=2, cores=2, memory_mib=4000)
WORKFLOWS: tuple[Workflow, ...] = (
    ONE,
    CHAIN,
    Lazy(spec("a"), spec("b", ["a"])),
    Workflow(spec("a"), spec("b")),
    Staged(),
)
HOUR_S = 3600.0
LIMITS = Limits(max_retries=1000, retry_delay_s=2.0, poison_deaths=1000)
POISON = Limits(max_retries=1000, retry_delay_s=2.0, poison_deaths=1)


@contextmanager
def savepoint(connection: Connection, name: str) -> Iterator[None]:
    """As `begin_nested`, without SQLAlchemy, which compiles each SAVEPOINT again: a third of a schedule's time."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(f"SAVEPOINT {name}")
    try:
        yield
    except BaseException:
        driver.execute(f"ROLLBACK TO {name}")
        raise
    finally:
        driver.execute(f"RELEASE {name}")


class Crash(Exception):
    """The process died here."""


@dataclass
class Engine:
    """One attempt's process tree, with its guardian: it outlives the worker's process, not the machine."""

    claim: Claim
    ends_at: float
    ending: Ending
    limits: Limits = LIMITS
    started: bool = False


@dataclass
class Machine:
    """One home with its worker process, its engines and its clocks."""

    home: str
    wall_offset: float
    speed: float
    worker: int | None = None  # its row; None while no process runs
    frozen_until: float = 0.0
    cut_off_until: float = 0.0
    last_beat: float = 0.0
    engines: dict[tuple[int, int], Engine] = field(default_factory=dict)
    lost: list[Engine] = field(default_factory=list)  # their guardians were killed, and no process has noticed yet
    judge: FailureDetector = field(default_factory=lambda: FailureDetector(LEASE_S, HEARTBEAT_S))


class World:
    """Acts and checks. Raises AssertionError where an invariant is broken."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.connection = connection
        self.seed = seed
        self.dice = random.Random(seed)
        self.now = 1_800_000_000.0
        self.began = self.now
        self.store_gone_until = 0.0
        self.calm = False
        self.planners: dict[str, Workflow] = {}
        self.files: dict[int, int] = {}  # step → attempt whose files are published
        self.commits: dict[int, list[int]] = {}
        self.beaten: dict[int, float] = {}
        self.changed = False
        self.machines = [self._machine(i) for i in range(self.dice.choice((1, 2, 3)))]
        self.several = len(self.machines) > 1

    def _machine(self, number: int) -> Machine:
        return Machine(
            home=f"home{number}",
            wall_offset=self.dice.choice((0.0, 0.0, HOUR_S, -HOUR_S)),
            speed=self.dice.uniform(0.99, 1.01),
        )

    def run(self, ticks: int = 14) -> int:
        """One schedule. Returns how many acts of the protocol it took."""
        for _ in range(self.dice.choice((1, 2, 3))):
            self._submit()
        for _ in range(ticks):
            self._fault()
            self._tick()
            self._check()
        self._end_of_faults()
        for _ in range(200):
            if self._all_over():
                break
            self._tick()
            self._check()
        assert self._all_over(), f"seed {self.seed}: not over: {self._open()}"
        self._check_end()
        return sum(map(len, self.commits.values()))

    # -- the world --------------------------------------------------------------------------------------------------

    @contextmanager
    def act(self) -> Iterator[Connection]:
        with savepoint(self.connection, "act"):
            yield self.connection

    def _submit(self) -> None:
        job = f"job{len(self.planners)}"
        self.planners[job] = self.dice.choice(WORKFLOWS)
        with self.act() as connection:
            accept(connection, self.now, job, Submission("xtb", {}), self.planners[job])

    def _fault(self) -> None:
        machine = self.dice.choice(self.machines)
        what = self.dice.random()
        if what < 0.06:
            machine.worker = None  # its process died; guardians and engines keep running
        elif what < 0.09:
            machine.worker = None
            machine.engines.clear()  # the machine went down
        elif what < 0.17:
            machine.frozen_until = self.now + self.dice.choice((1.0, 3.0, 6.0, 9.0))
        elif what < 0.21:
            machine.cut_off_until = self.now + self.dice.choice((2.0, 6.0, 9.0))
        elif what < 0.24:
            self.store_gone_until = self.now + self.dice.choice((1.0, 5.0, 30.0))
        elif what < 0.27:
            machine.wall_offset += self.dice.choice((HOUR_S, -HOUR_S))
        elif what < 0.37:
            self._ask(self.dice.choice(("cancel", "retry", "hold", "release")))
        elif what < 0.41 and len(self.planners) < 4:
            self._submit()
        elif what < 0.44 and machine.engines:
            machine.lost.append(machine.engines.pop(self.dice.choice(sorted(machine.engines))))

    def _ask(self, verb: str) -> None:
        try:
            with self.act() as connection:
                getattr(operator_actions, verb)(connection, self.now, self.dice.choice(sorted(self.planners)))
        except QmrunnerError:
            return  # not in this state

    def _end_of_faults(self) -> None:
        self.calm = True
        self.store_gone_until = 0.0
        for machine in self.machines:
            machine.frozen_until = machine.cut_off_until = 0.0
        # One machine may be gone for good.
        if len(self.machines) > 1 and self.dice.random() < 0.5:
            self.machines.pop()
        self._release_held()

    def _tick(self) -> None:
        self.now += TICK_S
        for machine in self.dice.sample(self.machines, len(self.machines)):
            if self.now < machine.frozen_until:
                continue
            if self.now < max(machine.cut_off_until, self.store_gone_until):
                continue  # engines compute on, nothing is committed, no worker is judged
            try:
                self._live(machine)
            except Crash:
                machine.worker = None
        if self.calm:
            self._release_held()

    def _release_held(self) -> None:
        """The operator without whom a held job does not continue."""
        held = self.connection.execute(select(jobs.c.id).where(jobs.c.state == "held")).scalars().all()
        for job in held:
            with self.act() as connection:
                operator_actions.release(connection, self.now, job)

    def _live(self, machine: Machine) -> None:
        """What a worker does in one beat's time, in any order: threads know none."""
        if machine.worker is None:
            self._start(machine)
        works = [self._beat, self._claim, self._finish]
        if self.several:
            works.append(self._judge)
        for work in self.dice.sample(works, len(works)):
            if machine.worker is None:
                return
            work(machine)

    def _wall(self, machine: Machine) -> float:
        return self.now + machine.wall_offset

    def _start(self, machine: Machine) -> None:
        identity = {"boot_id": machine.home, "pid_ns": "n", "pid": 1, "start_ticks": 1}
        with self.act() as connection:
            machine.worker = workers.register(
                connection, self._wall(machine), name=machine.home, host="h", identity=identity, home_id=machine.home,
                home="/h", capacity=SLOTS, version="0",
            )  # fmt: skip
        machine.judge = FailureDetector(LEASE_S, HEARTBEAT_S)
        self.beaten[machine.worker] = self.now
        self._adopt(machine)

    def _adopt(self, machine: Machine) -> None:
        assert machine.worker is not None
        with self.act() as connection:
            old = workers.of_home(connection, machine.home, but=machine.worker)
            workers.take_over(connection, old, machine.worker)
            for one in old:
                workers.retire(connection, one, self._wall(machine))
            rows = workers.live_attempts(connection, [machine.worker])
        machine.lost.clear()
        mine = {(row["step_id"], row["number"]) for row in rows}
        # What was judged lost meanwhile is ended.
        machine.engines = {key: engine for key, engine in machine.engines.items() if key in mine}
        for row in rows:
            if (row["step_id"], row["number"]) not in machine.engines:
                self._end(machine, row["job_id"], row["step_id"], row["number"], Lost("worker"))

    def _beat(self, machine: Machine) -> None:
        assert machine.worker is not None
        with self.act() as connection:
            alive = workers.beat(connection, self._wall(machine), machine.worker, 1)
            cancelled = workers.cancelled_steps(connection, machine.worker)
        if not alive:
            machine.engines.clear()
            machine.lost.clear()  # fenced off: all trees are ended, and it starts again
            machine.worker = None
            return
        self.beaten[machine.worker] = self.now
        for (step, _), engine in machine.engines.items():
            if step in cancelled:
                engine.ends_at, engine.ending = self.now, Finished(Outcome("stopped", "stopped"), "cancel")

    def _claim(self, machine: Machine) -> None:
        assert machine.worker is not None
        if len(machine.engines) >= SLOTS.slots or not ready_steps.any_ready(self.connection, self._wall(machine)):
            return
        with self.act() as connection:
            claim = claims.claim(connection, self._wall(machine), machine.worker, SLOTS, PATHS)
        self.changed = True
        if claim is None:
            return
        self._maybe_crash(0.03)
        machine.engines[(claim.step.id, claim.number)] = Engine(
            claim, self.now + self.dice.choice((0.0, 1.0, 2.0, 5.0)), *self._ending()
        )
        self._maybe_crash(0.03)

    def _ending(self) -> tuple[Ending, Limits]:
        if not self.calm:
            if self.dice.random() < 0.08:
                return Finished(Outcome("failed", "crash", failure_class="permanent")), LIMITS
            if self.dice.random() < 0.08:
                return Finished(Outcome("failed", "crash", failure_class="transient")), LIMITS
            if self.dice.random() < 0.05:
                return Lost("guardian"), POISON
            if self.dice.random() < 0.05:
                return Deferred("artifacts_unavailable", "no artifact store", 2.0), LIMITS
        return Finished(Outcome("succeeded", "ok", {"e": 1.0})), LIMITS

    def _finish(self, machine: Machine) -> None:
        assert machine.worker is not None
        while machine.lost:
            claim = machine.lost.pop().claim
            self._end(machine, claim.job.id, claim.step.id, claim.number, Lost("guardian"))
        for key, engine in list(machine.engines.items()):
            if not engine.started:
                engine.started = True
                with self.act() as connection:
                    claims.start(
                        connection, self._wall(machine), step_id=key[0], number=key[1], guardian={}, engine_pid=1,
                        notes=(),
                    )  # fmt: skip
            if engine.ends_at <= self.now:
                self._end(machine, engine.claim.job.id, *key, engine.ending, engine.limits)
                machine.engines.pop(key, None)

    def _end(self, machine: Machine, job: str, step: int, number: int, ending: Ending, limits: Limits = LIMITS) -> None:
        """The finishing commit, with a crash before, in the middle of, or right after it."""
        self.changed = True
        self._maybe_crash(0.02)
        newest, state = self._newest(step)
        before = dict(self.files)
        with self.act() as connection:
            cancelled = job_store.get(connection, job).cancel_requested
            ready, verdict = end(
                connection, self._wall(machine), step_id=step, number=number, ending=ending, limits=limits, usage={},
                planner=self.planners[job], publish=lambda verdict: self._publish(step, number, verdict),
            )  # fmt: skip
            self._maybe_crash(0.03)
        if newest != number or state not in ("claimed", "running"):
            assert ready is None, (
                f"seed {self.seed}: attempt {number} of step {step} finished behind {newest} ({state})"
            )
        if ready is None:
            assert self.files == before, f"seed {self.seed}: a fenced attempt published"
        elif cancelled:
            assert verdict.move in ("succeed", "cancel"), f"seed {self.seed}: {verdict.move} in spite of a cancel"
        if ready is not None and verdict.move == "succeed":
            self.commits.setdefault(step, []).append(number)
        self._maybe_crash(0.02)

    def _publish(self, step: int, number: int, verdict: Verdict) -> None:
        if verdict.move == "succeed":
            self.files[step] = number  # a rename stays, whatever becomes of the transaction

    def _judge(self, machine: Machine) -> None:
        assert machine.worker is not None
        with self.act() as connection:
            rows = {row["id"]: row for row in workers.all_workers(connection)}
        own = rows.pop(machine.worker, None)
        if own is None:
            return
        beats = [(row["id"], row["beat"]) for row in rows.values()]
        for lost, beat in machine.judge.observe(beats, own["beat"], self.now * machine.speed):
            silent = self.now - self.beaten[lost]
            assert silent >= 0.9 * LEASE_S, f"seed {self.seed}: worker {lost} condemned {silent} s after its beat"
            with self.act() as connection:
                if not workers.declare_lost(connection, self._wall(machine), lost, beat):
                    continue
            self._maybe_crash(0.2)
        with self.act() as connection:
            left = workers.live_attempts(connection, workers.dead_with_attempts(connection))
        for row in left:
            self._end(machine, row["job_id"], row["step_id"], row["number"], Lost("machine"))

    def _maybe_crash(self, chance: float) -> None:
        if not self.calm and self.dice.random() < chance:
            raise Crash

    # -- checks -----------------------------------------------------------------------------------------------------

    def _newest(self, step: int) -> tuple[int, str]:
        row = self.connection.execute(select(steps.c.attempt, steps.c.state).where(steps.c.id == step)).one()
        return row.attempt, row.state

    def _open(self) -> list[Any]:
        return [
            *self.connection.execute(select(jobs.c.id, jobs.c.state).where(jobs.c.state.not_in(JOB_FINAL))).all(),
            *self.connection.execute(
                select(attempts.c.step_id, attempts.c.number, attempts.c.worker_id).where(
                    attempts.c.state.in_(ATTEMPT_LIVE)
                )
            ).all(),
        ]

    def _all_over(self) -> bool:
        return not self._open()

    def _check(self) -> None:
        if not self.changed:
            return
        self.changed = False
        live = self.connection.execute(
            select(attempts.c.step_id, attempts.c.number).where(attempts.c.state.in_(ATTEMPT_LIVE))
        ).all()
        owned = self.connection.execute(
            select(steps.c.id, steps.c.attempt).where(steps.c.state.in_((StepState.CLAIMED, StepState.RUNNING)))
        ).all()
        held = self.connection.execute(select(reservations.c.step_id, reservations.c.attempt)).all()
        assert sorted(map(tuple, live)) == sorted(map(tuple, owned)) == sorted(map(tuple, held)), f"seed {self.seed}"

    def _check_end(self) -> None:
        for step, numbers in self.commits.items():
            assert len(numbers) == 1, f"seed {self.seed}: step {step} succeeded as {numbers}"
        done = self.connection.execute(select(steps.c.id, steps.c.attempt).where(steps.c.state == "succeeded")).all()
        for step, attempt in done:
            assert self.files.get(step) == attempt, (
                f"seed {self.seed}: step {step}: {self.files.get(step)} != {attempt}"
            )
