"""`qmrunner db copy`: from a SQLite store that was in use to PostgreSQL, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from qmrunner.store import schema
from qmrunner.store.session import Store
from tests.lifecycle.lab import STAND_IN, Lab
from tests.store.work import Work
from tests.support import Daemon, Home, wait_for


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", {"QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(tmp_path / "gate")})


@pytest.fixture
def lab(home: Home, daemon: Callable[..., Daemon]) -> Iterator[Lab]:
    opened = Lab(home, daemon)
    yield opened
    opened.close()


@pytest.fixture
def target(postgres_database: str) -> Iterator[Store]:
    opened = Store(postgres_database)
    yield opened
    opened.close()


def used(lab: Lab) -> list[str]:
    """A store after a real run: a job that succeeded, one that failed, one stopped during its run, one never begun."""
    first = lab.start()
    done, failed, stopped = lab.submit(seconds=0), lab.submit(exit=1), lab.submit(gate=1)
    assert [lab.ended(job, 60.0) for job in (done, failed)] == ["succeeded", "failed"]
    lab.running(stopped, 60.0)
    first.stop()
    return [done, failed, stopped, lab.submit(seconds=0)]


def test_a_used_store_continues_on_postgresql(lab: Lab, postgres_database: str, target: Store) -> None:
    jobs = used(lab)
    before = Work(lab.store).everything()
    told = lab.home.json("db", "copy", "--to", postgres_database)
    assert {one["table"]: one["rows"] for one in told["tables"]} == {name: len(rows) for name, rows in before.items()}
    assert Work(target).everything() == before == Work(lab.store).everything()
    lab.close()
    lab.home.extra["QMRUNNER_STORE_URL"] = postgres_database
    moved = Lab(lab.home, lab.start)
    moved.open_gate()
    moved.start()
    new = moved.submit(seconds=0)  # its rows get new numbers
    for job in (jobs[2], jobs[3], new):
        assert moved.ended(job, 60.0) == "succeeded"
    assert moved.attempts(jobs[2])[-1] == (2, "succeeded", "ok")
    assert [moved.state(job) for job in jobs[:2]] == ["succeeded", "failed"]
    moved.close()


def test_a_copy_that_fails_leaves_nothing_and_can_be_done_again(
    lab: Lab, postgres_database: str, target: Store
) -> None:
    lab.submit(seconds=0)
    schema.upgrade(target)
    with target.write() as connection:
        connection.execute(text("ALTER TABLE events ADD CONSTRAINT no_room CHECK (id < 0)"))
    ended = lab.home.run("db", "copy", "--to", postgres_database)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert not any(Work(target).everything().values())
    with target.write() as connection:
        connection.execute(text("ALTER TABLE events DROP CONSTRAINT no_room"))
    assert lab.home.run("db", "copy", "--to", postgres_database).returncode == 0
    assert Work(target).everything() == Work(lab.store).everything()


def test_a_store_in_use_is_not_copied(lab: Lab, postgres_database: str, target: Store) -> None:
    daemon = lab.start()
    ended = lab.home.run("db", "copy", "--to", postgres_database, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (4, "daemon_running")
    assert not any(Work(target).everything().values())
    daemon.stop()
    assert lab.home.run("db", "copy", "--to", postgres_database).returncode == 0


def test_a_daemon_that_was_killed_holds_a_copy_up_for_its_lease_only(lab: Lab, postgres_database: str) -> None:
    lab.start()
    lab.home.end_processes()
    wait_for(lambda: lab.home.run("db", "copy", "--to", postgres_database).returncode == 0, 30.0, "the copy")


def test_a_database_with_rows_is_refused(lab: Lab, postgres_database: str, target: Store) -> None:
    lab.submit(seconds=0)
    schema.upgrade(target)
    Work(target).job()
    ended = lab.home.run("db", "copy", "--to", postgres_database, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (2, "target_not_empty")


def test_a_database_of_another_version_is_refused(lab: Lab, postgres_database: str, target: Store) -> None:
    lab.submit(seconds=0)
    schema.upgrade(target, schema.REVISIONS[-2])
    ended = lab.home.run("db", "copy", "--to", postgres_database, "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (4, "store_outdated")


def test_another_file_is_no_target(lab: Lab, tmp_path: Path) -> None:
    lab.submit(seconds=0)
    ended = lab.home.run("db", "copy", "--to", f"sqlite:///{tmp_path / 'other.db'}", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (2, "copy_target")


def test_text_that_postgresql_cannot_hold_is_kept_as_far_as_it_can(
    lab: Lab, postgres_database: str, target: Store
) -> None:
    """Engines print the character NUL; a step must not be stuck for that, nor a copy."""
    work = Work(lab.store)
    job = work.job()
    with lab.store.write() as connection:
        connection.execute(text("UPDATE jobs SET summary = :told"), {"told": "a\0b"})
    assert lab.home.run("db", "copy", "--to", postgres_database).returncode == 0
    with target.write() as connection:
        assert connection.execute(text("SELECT summary FROM jobs WHERE id = :id"), {"id": job}).scalar() == "a\ufffdb"
        connection.execute(text("UPDATE jobs SET summary = :told"), {"told": "c\0d"})
        assert connection.execute(text("SELECT summary FROM jobs WHERE id = :id"), {"id": job}).scalar() == "c\ufffdd"
