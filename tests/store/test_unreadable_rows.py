"""Rows that another program or version wrote: an error that names the row, and no other step waits for it."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import JSON, Connection, Table, text

from qmrunner import engines
from qmrunner.model.jobs import ENGINES
from qmrunner.reports import why
from qmrunner.store import jobs as job_store
from qmrunner.store import ready_steps, workers
from qmrunner.store.rows import RowUnreadable
from qmrunner.store.session import Store
from qmrunner.store.tables import attempts, jobs, steps
from tests import ready
from tests.store.work import Work

# SQLite stores any value in any column; JSON columns get text that is not JSON, too.
VALUES: tuple[Any, ...] = ("/etc/passwd", "\x1b[31m\u202e", b"\xff\x00", float("inf"), -1e308, 2**62, "nosuch", "")
DOCUMENTS: tuple[Any, ...] = ('"text"', "[]", "[1]", '{"a":', '{"a":1}', "5", "null", b"\xff", "", '{"pid":"x"}')
READ = {
    jobs: ("kind", "state", "params", "name", "priority", "created_at", "finished_at", "requires"),
    steps: ("name", "params", "inputs", "after", "demand", "state", "attempt", "retries", "priority", "evidence",
            "result", "created_at", "not_before"),
    attempts: ("state", "guardian", "granted", "progress", "usage", "notes", "created_at", "log", "code"),
}  # fmt: skip


@pytest.fixture
def sqlite_work(tmp_path: Path) -> Iterator[Work]:
    """PostgreSQL checks the type of every value itself."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    shutil.copyfile(ready.sqlite(), tmp_path / "store.db")
    yield Work(store)
    store.close()


def wrong(store: Store, table: Table, column: str, value: Any, where: str) -> None:
    """Write a value as another program would: past all types."""
    assert store.path
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = off")
        connection.execute(f'UPDATE {table.name} SET "{column}" = ? WHERE {where}', (value,))


def refusal(store: Store, job: str) -> RowUnreadable | None:
    try:
        with store.read() as connection:
            read_all(connection, job)
    except RowUnreadable as problem:
        return problem
    return None


def read_all(connection: Connection, job: str) -> None:
    job_store.get(connection, job)
    job_store.of_job(connection, job)
    job_store.outline(connection, job)
    job_store.listing(connection)
    workers.attempts_of_job(connection, job)


@pytest.mark.parametrize("table", READ, ids=lambda table: table.name)
def test_a_value_of_another_form_is_an_error_that_names_its_row(sqlite_work: Work, table: Table) -> None:
    work, refused = sqlite_work, 0
    worker = work.worker()
    job = work.job()
    work.start(work.claimed(worker))
    for column in READ[table]:
        values = DOCUMENTS if isinstance(table.c[column].type, JSON) else VALUES
        with work.store.read() as connection:
            query = text(f'SELECT "{column}" FROM {table.name}')
            before = connection.execute(query).scalar()
        for value in values:
            wrong(work.store, table, column, value, "1 = 1")
            problem = refusal(work.store, job)
            if problem is not None:
                refused += 1
                assert table.name in problem.message or "JSON column" in problem.message
                assert problem.remedy
                assert len(str(problem.evidence)) <= 200
            wrong(work.store, table, column, before, "1 = 1")
    assert refused >= 2 * len(READ[table])
    with work.store.read() as connection:
        read_all(connection, job)


@pytest.mark.parametrize("name", ["../../../etc", "a/b", "..", ".", "", "a\nb", "a\x1b[31m", "\u202ea"])
def test_a_name_of_a_step_never_leads_out_of_its_job(work: Work, name: str) -> None:
    job = work.job()
    with work.store.write() as connection:
        connection.execute(steps.update().values(name=name))
    with work.store.read() as connection:
        for read in (job_store.of_job, job_store.outline):
            with pytest.raises(RowUnreadable):
                read(connection, job)
    assert work.claim(work.worker()) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [("demand", {"cores_min": "x"}), ("demand", "x"), ("demand", {"tapes": 1}), ("params", []), ("inputs", [1]),
     ("after", {"a": 1}), ("name", "../../x"), ("engine", "orca")],
)  # fmt: skip
def test_a_step_that_cannot_be_run_here_holds_up_no_other(work: Work, column: str, value: Any) -> None:
    worker, bad, good = work.worker(), work.job(priority=5), work.job()
    with work.store.write() as connection:
        connection.execute(steps.update().where(steps.c.job_id == bad).values({column: value}))
    with work.store.read() as connection:
        assert [step.job_id for step in ready_steps.best(connection, work.now)] == [good]
    assert work.claimed(worker).job.id == good
    assert work.claim(worker) is None
    with work.store.write() as connection:  # corrected, or claimed by a worker of another version: it was kept
        right = {"demand": {}, "params": {}, "inputs": {}, "after": [], "name": "a", "engine": "xtb"}[column]
        connection.execute(steps.update().where(steps.c.job_id == bad).values({column: right}))
    assert work.claimed(worker).job.id == bad


def test_text_that_is_not_json_holds_up_no_other_step(sqlite_work: Work) -> None:
    work = sqlite_work
    worker, bad, good = work.worker(), work.job(priority=5), work.job()
    for column, value in itertools.product(("demand", "params", "result"), ('{"a":', b"\xff", "")):
        wrong(work.store, steps, column, value, f"job_id = '{bad}'")
        with work.store.read() as connection:
            assert [step.job_id for step in ready_steps.best(connection, work.now)] == [good], (column, value)
        wrong(work.store, steps, column, json.dumps({}), f"job_id = '{bad}'")
    assert work.claimed(worker).job.id == bad


def test_why_names_an_engine_that_this_version_does_not_have(work: Work) -> None:
    job = work.job()
    with work.store.write() as connection:
        connection.execute(steps.update().values(engine="orca"))
    with work.store.read() as connection:
        (step,) = job_store.of_job(connection, job)
    sentence, _ = why._what_for(cast(Any, None), step)
    assert "'orca'" in sentence


def test_the_engines_of_the_model_are_those_of_the_registry() -> None:
    assert set(ENGINES) == {*engines._CLASSES, *engines._HOSTED}
