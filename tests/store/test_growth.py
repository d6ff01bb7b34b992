"""What has ended costs nothing: commands, beats, claims and ends take as many steps of SQLite's machine with many ended
jobs as with few. Counted steps do not depend on the load of this machine, and a full scan would show in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from qmrunner.app import App
from qmrunner.model.jobs import Job, Plan, Step
from qmrunner.model.packing import Capacity
from qmrunner.reports import status, why
from qmrunner.settings import Settings
from qmrunner.store import events, ready_steps, workers
from qmrunner.store import jobs as job_store
from qmrunner.store.claims import Claim
from tests.store.work import FAIL, NOW, SUCCEED, Staged, Work, Workflow, spec

MANY = 5_000
# Trees of indices become deeper, and counts of ended jobs stop at `jobs.COUNTED`.
GROWTH = 1.3


class Counted:
    """Counts the steps of SQLite's machine in all connections of a store."""

    def __init__(self, work: Work) -> None:
        self._steps = 0

        def connect(connection: Any, _record: Any) -> None:
            assert isinstance(connection, sqlite3.Connection)
            connection.set_progress_handler(self._step, 1)

        event.listen(work.store.engine, "connect", connect)
        work.store.engine.dispose()

    def _step(self) -> int:
        self._steps += 1
        return 0

    def of(self, action: Callable[[], object]) -> int:
        before = self._steps
        action()
        return self._steps - before


def multiply(work: Work, job_id: str, times: int) -> None:
    """Copies of an ended job, with its steps, attempts and events."""
    copies = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {times}) "
    with work.store.write() as connection:
        for table, key in (("jobs", "id"), ("steps", "job_id"), ("attempts", "job_id"), ("events", "job_id")):
            columns = [row[1] for row in connection.exec_driver_sql(f'PRAGMA table_info("{table}")')]
            first = {"jobs": "seq", "steps": "id", "attempts": "step_id", "events": "id"}[table]
            own = connection.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE {key} = ?", (job_id,)).scalar()
            base = connection.exec_driver_sql(f"SELECT max({first}) FROM {table}").scalar()
            values = [
                f"'{job_id}x' || i" if column == key
                else f"{base} + (i - 1) * {own} + (SELECT count(*) FROM {table} o WHERE o.{key} = t.{key}"
                f" AND o.{first} <= t.{first})" if column == first
                else f't."{column}"'
                for column in columns
            ]  # fmt: skip
            named = ", ".join(f'"{column}"' for column in columns)
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({named}) {copies} SELECT {', '.join(values)} FROM {table} t, n"
                f" WHERE t.{key} = '{job_id}'"
            )


def run(work: Work, worker: int) -> None:
    claim: Claim = work.claimed(worker)
    assert work.start(claim)
    assert work.finish(claim) is not None


@pytest.fixture
def app(work: Work, tmp_path: Path) -> App:
    made = App(Settings(home=tmp_path / "home", store_url=work.store.url))
    made.__dict__["store"] = work.store
    return made


def test_no_command_beat_claim_or_end_grows_with_what_has_ended(work: Work, app: App) -> None:
    if not work.store.is_sqlite:
        pytest.skip("counts steps of SQLite's machine")
    worker = work.worker()
    ended = work.job(owner="me", group="g")
    run(work, worker)
    waiting = work.job(owner="you")
    counted = Counted(work)

    def read(ask: Callable[[Any], object]) -> Callable[[], object]:
        def action() -> object:
            with work.store.read() as connection:
                return ask(connection)

        return action

    def beat() -> None:
        with work.store.write() as connection:
            workers.beat(connection, NOW, worker, 1)
            workers.cancelled_steps(connection, worker)
            workers.fenced_attempts(connection, [(1, 1)])

    def claim_and_end() -> None:
        work.job(owner="me", group="g", priority=1)
        run(work, worker)

    actions: dict[str, Callable[[], object]] = {
        "status JOB": lambda: status.job_view(app, waiting),
        "why of a job that waits": lambda: why.view(app, waiting),
        "why of a job that has ended": lambda: why.view(app, ended),
        "submission": lambda: work.job(owner="me", group="g"),
        "claim, start and end": claim_and_end,
        "beat": beat,
        "look for ready steps": read(lambda c: ready_steps.any_ready(c, NOW)),
        "failure detector": read(workers.dead_with_attempts),
        "jobs by id": read(lambda c: job_store.get_all(c, {ended})),
        "newest events": read(lambda c: events.recent(c, 20)),
    }
    few = {name: counted.of(action) for name, action in actions.items()}
    multiply(work, ended, MANY)
    many = {name: counted.of(action) for name, action in actions.items()}
    assert {name: (few[name], many[name]) for name in actions if many[name] > GROWTH * few[name] + 200} == {}


def test_the_list_of_jobs_grows_by_what_it_shows_and_counts_only(work: Work, app: App) -> None:
    if not work.store.is_sqlite:
        pytest.skip("counts steps of SQLite's machine")
    worker = work.worker()
    ended = work.job()
    run(work, worker)
    counted = Counted(work)
    multiply(work, ended, 200)
    few = counted.of(lambda: status.overview(app))
    multiply(work, f"{ended}x1", MANY)
    many = counted.of(lambda: status.overview(app))
    assert many - few < 20 * MANY  # nine steps to count each ended job and step, up to `COUNTED` of each state


def test_a_step_that_ends_reads_the_other_steps_of_its_job_a_bounded_number_of_times(work: Work) -> None:
    if not work.store.is_sqlite:
        pytest.skip("counts steps of SQLite's machine")
    worker = work.worker()

    def steps_of_an_end(size: int) -> int:
        workflow = Workflow(*(spec(f"s{number}") for number in range(size)))
        work.job(workflow, priority=size)
        claim = work.claimed(worker)
        assert work.start(claim)
        return Counted(work).of(lambda: work.finish(claim, workflow=workflow))

    small, large = steps_of_an_end(10), steps_of_an_end(1000)
    assert large / small < 100


def test_a_stage_that_is_judged_as_a_whole_is_planned_once(work: Work) -> None:
    """Its other ends read neither the job's steps nor the plan; of 10,000 conformers this was 0.6 s of CPU per end."""
    planned: list[int] = []

    class Counting(Staged):
        def __call__(self, job: Job, steps: Sequence[Step]) -> Plan:
            planned.append(len(steps))
            return super().__call__(job, steps)

    workflow = Counting(30)
    worker, job = work.worker(Capacity(slots=30, cores=30, memory_mib=30_000)), work.job(workflow)
    claims = [work.claimed(worker, Capacity(slots=30, cores=30, memory_mib=30_000)) for _ in range(30)]
    ends = [work.finish(claim, FAIL if n % 2 else SUCCEED, workflow) for n, claim in enumerate(claims)]
    assert ends == [0] * 29 + [1]
    assert planned == [0, 30]
    assert work.state(job)[1]["b"] == "ready"
