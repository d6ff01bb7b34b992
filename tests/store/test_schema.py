"""The schema's versions: up, down and up again with rows present, and never a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from qmrunner.errors import NotReadyError
from qmrunner.store import artifacts, examinations, schema, sessions, tokens
from qmrunner.store.session import Store
from qmrunner.store.tables import control, jobs, metadata, peaks
from tests.store.work import CHAIN, SUCCEED, Work


@pytest.fixture
def empty(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()


def filled(store: Store) -> Work:
    """A store with at least one row in every table."""
    work = Work(store)
    worker = work.worker()
    work.job(CHAIN, key="k")
    work.finish(work.claimed(worker), SUCCEED, CHAIN)
    work.start(work.claimed(worker))
    with store.write() as connection:
        connection.execute(control.insert().values(name="paused", value="yes"))
        connection.execute(peaks.insert().values(kind="k", memory=0.5))
        job = connection.execute(select(jobs.c.id)).scalar_one()
        artifacts.add(connection, 1.0, [artifacts.File(job, artifacts.JOB, "input/a.xyz", "", 0, "0" * 64, 3)])
        tokens.add(connection, 1.0, "alice", "read")
        sessions.open_for(connection, 1.0, "alice")
        examinations.save(connection, 1.0, worker, [{"name": "cores", "result": "ok"}])
    rows = work.everything()
    assert all(rows.values()), [name for name, found in rows.items() if not found]
    return work


def test_the_migrations_go_up_and_down_and_up_again_step_by_step_with_rows_present(empty: Store) -> None:
    for _ in range(2):
        for revision in schema.REVISIONS:
            schema.upgrade(empty, revision)
            assert schema.revision(empty) == revision
        filled(empty)
        for revision in [*reversed(schema.REVISIONS[:-1]), "base"]:
            schema.downgrade(empty, revision)
        assert schema.status(empty) == "empty"
        with empty.read() as connection:
            assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    schema.upgrade(empty)
    filled(empty)


def test_upgrading_what_is_current_keeps_every_row(store: Store) -> None:
    work = filled(store)
    before = work.everything()
    schema.upgrade(store)
    assert work.everything() == before


def test_the_migrated_schema_equals_the_declared_tables(store: Store) -> None:
    with store.write() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_the_migrated_constraints_equal_the_declared_ones(store: Store) -> None:
    """What the comparison above does not look at on SQLite: keys, uniqueness and NOT NULL, by name."""
    with store.read() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
            assert columns == {column.name: bool(column.nullable) for column in table.columns}
            assert set(found.get_pk_constraint(table.name)["constrained_columns"]) == set(
                table.primary_key.columns.keys()
            )
            points = {
                (key["constrained_columns"][0], key["referred_table"], key["referred_columns"][0])
                for key in found.get_foreign_keys(table.name)
            }
            assert points == {(key.parent.name, key.column.table.name, key.column.name) for key in table.foreign_keys}
            assert {
                index["name"] for index in found.get_indexes(table.name) if not index.get("duplicates_constraint")
            } == {str(index.name) for index in table.indexes}


def test_the_revisions_named_in_the_program_are_those_of_the_folder() -> None:
    files = sorted((schema.migrations_folder() / "versions").glob("[0-9]*.py"))
    said = [re.findall(r'^(?:down_)?revision = (?:"(\w+)"|None)$', file.read_text(), re.M) for file in files]
    assert tuple(revision for revision, _ in said) == schema.REVISIONS
    assert [before for _, before in said] == ["", *schema.REVISIONS[:-1]]
    assert schema.REVISIONS[-1] == schema.HEAD
    assert [file.name[:4] for file in files] == list(schema.REVISIONS)


def test_an_empty_store_is_made_usable_when_asked_to_and_refused_otherwise(empty: Store) -> None:
    with pytest.raises(NotReadyError, match="db upgrade") as caught:
        schema.require_current(empty, create=False)
    assert caught.value.code == "store_empty"
    schema.require_current(empty, create=True)
    assert schema.status(empty) == "current"
    schema.require_current(empty, create=False)


def test_an_outdated_store_is_refused_with_the_remedy_and_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = filled(store)
    before = work.everything()
    monkeypatch.setattr(schema, "HEAD", "9999")
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    for create in (True, False):
        with pytest.raises(NotReadyError) as caught:
            schema.require_current(store, create=create)
        assert caught.value.code == "store_outdated"
        assert "`qmrunner db upgrade`" in (caught.value.remedy or "")
        assert "back it up" in (caught.value.remedy or "")
    assert work.everything() == before


def test_a_newer_store_is_refused_with_the_remedy_and_left_alone(store: Store) -> None:
    work = filled(store)
    before = work.everything()
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for create in (True, False):
        with pytest.raises(NotReadyError) as caught:
            schema.require_current(store, create=create)
        assert caught.value.code == "store_newer"
        assert "9999" in caught.value.message
        assert "install the version" in (caught.value.remedy or "")
    assert work.everything() == before


def test_a_migration_that_fails_leaves_the_store_as_it_was(empty: Store) -> None:
    if not empty.is_sqlite:
        pytest.skip("the table in the way is made with SQLite here")
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE steps (id INTEGER)"))
    with pytest.raises(NotReadyError):
        schema.upgrade(empty)
    with empty.read() as connection:
        assert inspect(connection).get_table_names() == ["steps"]


def test_the_migrations_are_found_beside_the_package() -> None:
    assert (schema.migrations_folder() / "env.py").is_file()
    assert isinstance(schema.migrations_folder(), Path)
