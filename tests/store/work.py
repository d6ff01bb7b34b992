"""A worker, jobs and attempts on a real store, without any process: what the tests of the protocol act with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from qmrunner.model.disk_space import FreeSpace
from qmrunner.model.jobs import Demand, Job, JobEnd, Plan, Step, StepSpec, Submission
from qmrunner.model.packing import Capacity
from qmrunner.model.policy import Verdict
from qmrunner.model.states import STEP_FINAL, AttemptState, JobState, StepState
from qmrunner.store import claims, jobs, operator_actions, workers
from qmrunner.store.advance import accept
from qmrunner.store.claims import Claim, Paths
from qmrunner.store.finish import finish
from qmrunner.store.session import Store
from qmrunner.store.tables import attempts, metadata, reservations

NOW = 1_800_000_000.0
BIG = Capacity(slots=8, cores=8, memory_mib=8000)
PATHS = Paths(lambda job, step, n: f"/scratch/{job}/{step}/{n}", lambda job, step, n: f"/logs/{job}/{step}.{n}.log")
SUCCEED = Verdict("succeed", AttemptState.SUCCEEDED, "ok", result={"energy_hartree": -1.0})
FAIL = Verdict("fail", AttemptState.FAILED, "crash", failure_class="permanent", summary="it crashed")
REQUEUE = Verdict("requeue", AttemptState.STOPPED, "stopped", summary="stopped for drain")
CANCEL = Verdict("cancel", AttemptState.CANCELLED, "cancelled")
HOLD = Verdict("hold", AttemptState.LOST, "poison", failure_class="operator", summary="three deaths")
_numbers = itertools.count(1)


def spec(name: str, after: Sequence[str] = (), demand: Demand | None = None, stage: str | None = None) -> StepSpec:
    return StepSpec(name, stage or name, "xtb", "user", {"n": 1}, {}, tuple(after), demand or Demand())


class Workflow:
    """All of `specs` in order of their `after`; fails with the first failed step, succeeds with the last success."""

    def __init__(self, *specs: StepSpec) -> None:
        self.specs = specs

    def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
        known = {step.name for step in steps}
        add = tuple(spec for spec in self.specs if spec.name not in known)
        for state in (StepState.FAILED, StepState.CANCELLED):
            for step in steps:
                if step.state is state:
                    return Plan(end=JobEnd(state.value, step.code, f"{step.name} {state}"))  # type: ignore[arg-type]
        done = {step.name for step in steps if step.state in (StepState.SUCCEEDED, StepState.SKIPPED)}
        if not add and done == {spec.name for spec in self.specs}:
            return Plan(end=JobEnd("succeeded", summary="all done"))
        return Plan(add=add)

    def waits_for_all(self, job: Job, stage: str) -> bool:
        return False


class Lazy(Workflow):
    """Adds a step only when all before it have succeeded."""

    def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
        plan = super().__call__(job, steps)
        done = all(step.state is StepState.SUCCEEDED for step in steps)
        return Plan(add=plan.add[:1] if done else (), end=plan.end)


class Staged(Workflow):
    """Several steps in stage `a`, judged as a whole: with a success `b` follows, which ends the job."""

    def __init__(self, breadth: int = 3) -> None:
        super().__init__(*(spec(f"a{number}", stage="a") for number in range(breadth)))

    def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
        if not steps:
            return Plan(add=self.specs)
        stage = [step for step in steps if step.stage == "a"]
        if any(step.state not in STEP_FINAL for step in stage):
            return Plan()
        last = next((step for step in steps if step.name == "b"), None)
        if last is None and any(step.state is StepState.SUCCEEDED for step in stage):
            return Plan(add=(spec("b"),))
        if last is None or last.state in (StepState.FAILED, StepState.CANCELLED):
            return Plan(end=JobEnd("cancelled" if job.cancel_requested else "failed", "crash", "nothing is left"))
        return Plan(end=JobEnd("succeeded", summary="all done")) if last.state is StepState.SUCCEEDED else Plan()

    def waits_for_all(self, job: Job, stage: str) -> bool:
        return stage == "a"


ONE = Workflow(spec("a"))
CHAIN = Workflow(spec("a"), spec("b", ["a"]), spec("c", ["b"]))


class Work:
    """Moves on one store at a time that only moves on request."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW

    def worker(self, capacity: Capacity = BIG, home_id: str = "home") -> int:
        with self.store.write() as connection:
            return workers.register(
                connection,
                self.now,
                name="w",
                host="h",
                identity={"boot_id": "b", "pid_ns": "p", "pid": 1, "start_ticks": 2**40},
                home_id=home_id,
                home="/home",
                capacity=capacity,
                version="0",
            )

    def job(
        self,
        workflow: Workflow = ONE,
        priority: int = 0,
        key: str | None = None,
        owner: str | None = None,
        requires: tuple[str, ...] = (),
        **more: Any,
    ) -> str:
        job_id = f"job{next(_numbers):05d}"
        fields = {"kind": "xtb", "params": {}, **more}
        submission = Submission(**fields, priority=priority, key=key, owner=owner, requires=requires)
        with self.store.write() as connection:
            accept(connection, self.now, job_id, submission, workflow)
        return job_id

    def claim(self, worker: int, capacity: Capacity = BIG, room: FreeSpace = FreeSpace()) -> Claim | None:  # noqa: B008 frozen
        with self.store.write() as connection:
            return claims.claim(connection, self.now, worker, capacity, PATHS, room)

    def claimed(self, worker: int, capacity: Capacity = BIG, room: FreeSpace = FreeSpace()) -> Claim:  # noqa: B008 frozen
        found = self.claim(worker, capacity, room)
        assert found is not None
        return found

    def start(self, claim: Claim) -> bool:
        with self.store.write() as connection:
            return claims.start(
                connection, self.now, step_id=claim.step.id, number=claim.number, guardian={"pid": 5}, engine_pid=6,
                notes=("a note",),
            )  # fmt: skip

    def finish(
        self, claim: Claim, verdict: Verdict = SUCCEED, workflow: Workflow = ONE, usage: Any = None, **more: Any
    ) -> int | None:
        with self.store.write() as connection:
            return finish(
                connection, self.now, step_id=claim.step.id, number=claim.number, verdict=verdict,
                usage={"wall_s": 1.5, **(usage or {})}, planner=workflow, **more,
            )  # fmt: skip

    def uses(self, claim: Claim, **mib: float) -> None:
        """What the worker's beat saves of a live attempt: `scratch_mib`, `shm_mib`."""
        with self.store.write() as connection:
            workers.save_usage(connection, [(claim.step.id, claim.number, mib)])

    def ask(self, verb: str, job_id: str) -> Job:
        """What a person does: cancel, retry, hold, release."""
        with self.store.write() as connection:
            moved: Job = getattr(operator_actions, verb)(connection, self.now, job_id)
            return moved

    def state(self, job_id: str) -> tuple[JobState, dict[str, StepState]]:
        with self.store.read() as connection:
            return jobs.get(connection, job_id).state, {s.name: s.state for s in jobs.of_job(connection, job_id)}

    def step(self, job_id: str, name: str) -> Step:
        with self.store.read() as connection:
            return next(step for step in jobs.of_job(connection, job_id) if step.name == name)

    def all_steps(self, job_id: str) -> list[Step]:
        with self.store.read() as connection:
            return jobs.of_job(connection, job_id)

    def reserved(self) -> list[tuple[int, int]]:
        with self.store.read() as connection:
            query = select(reservations.c.step_id, reservations.c.attempt)
            return [(row[0], row[1]) for row in connection.execute(query)]

    def attempts(self) -> list[dict[str, Any]]:
        with self.store.read() as connection:
            query = select(attempts).order_by(attempts.c.step_id, attempts.c.number)
            return [dict(row._mapping) for row in connection.execute(query)]

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table, to prove that nothing has changed."""
        with self.store.read() as connection:
            return {
                table.name: [
                    dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in metadata.sorted_tables
            }
