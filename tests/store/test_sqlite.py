"""What makes SQLite safe here: its settings are really set, writers wait their turn, readers never wait."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from qmrunner.errors import NotReadyError, QmrunnerError, UsageError
from qmrunner.store import schema
from qmrunner.store.session import Store, StoreUnavailable
from tests.store.work import Work
from tests.support import together

ADD_ONE = """
import sys
from sqlalchemy import text
from qmrunner.store.session import Store
store = Store(sys.argv[1], busy_seconds=90.0)  # a conflict of two writers is an error at once, whatever the patience
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    with store.write() as connection:
        found = int(connection.execute(text("SELECT value FROM control WHERE name = 'n'")).scalar())
        connection.execute(text("UPDATE control SET value = :n WHERE name = 'n'"), {"n": str(found + 1)})
"""
CREATE = """
import sys
from qmrunner.store import schema
from qmrunner.store.session import Store
print("ready", flush=True)
sys.stdin.readline()
store = Store(sys.argv[1])
schema.require_current(store, create=True)
print(schema.status(store))
"""
CLAIM = """
import json, sys
from qmrunner.store.session import Store
from tests.store.work import Work
work = Work(Store(sys.argv[1]))
worker = work.worker()
print("ready", flush=True)
sys.stdin.readline()
got = []
while claim := work.claim(worker):
    got.append([claim.step.id, claim.number])
    assert work.finish(claim) is not None
print(json.dumps(got))
"""


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """Only SQLite in this file."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def pragmas(store: Store, *, write: bool) -> dict[str, Any]:
    with store.write() if write else store.read() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}


def test_every_connection_has_wal_full_synchronous_and_foreign_keys(path: Path) -> None:
    store = Store(f"sqlite:///{path}")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert pragmas(store, write=True) == pragmas(store, write=False) == wanted
    store.close()
    assert pragmas(store, write=True) == wanted
    store.close()


def test_a_row_that_points_nowhere_is_refused(store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError), store.write() as connection:
        connection.execute(
            text("INSERT INTO reservations VALUES (99, 1, 99, 1, 1, 1, 1)"),
        )


def test_four_processes_that_read_modify_and_write_lose_nothing_and_meet_no_lock_error(store: Store) -> None:
    with store.write() as connection:
        connection.execute(text("INSERT INTO control VALUES ('n', '0')"))
    together(ADD_ONE, *[(f"sqlite:///{store.path}", "250")] * 4)
    with store.read() as connection:
        assert connection.execute(text("SELECT value FROM control WHERE name = 'n'")).scalar() == "1000"


def test_reading_does_not_wait_for_a_writer_and_sees_what_was_committed(store: Store) -> None:
    quick = Store(f"sqlite:///{store.path}", busy_seconds=0.0)
    with store.write() as writer:
        writer.execute(text("INSERT INTO control VALUES ('paused', 'yes')"))
        with quick.read() as reader:
            assert reader.execute(text("SELECT count(*) FROM control")).scalar() == 0
    with quick.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM control")).scalar() == 1
    quick.close()


def test_a_reader_keeps_one_view_while_others_write(store: Store) -> None:
    with store.read() as reader:
        before = reader.execute(text("SELECT count(*) FROM control")).scalar()
        with store.write() as writer:
            writer.execute(text("INSERT INTO control VALUES ('paused', 'yes')"))
        assert reader.execute(text("SELECT count(*) FROM control")).scalar() == before == 0


def test_a_second_writer_waits_from_its_very_beginning_and_names_the_first(store: Store) -> None:
    quick = Store(f"sqlite:///{store.path}", busy_seconds=0.05)
    with store.write(), pytest.raises(StoreUnavailable, match="does not answer") as caught, quick.write():
        pytest.fail("two writers at a time")
    assert "locked" in (caught.value.evidence or "")
    assert "another program" in (caught.value.remedy or "")
    with quick.write() as connection:
        connection.execute(text("INSERT INTO control VALUES ('a', 'b')"))
    quick.close()


def test_an_error_in_a_write_leaves_nothing_of_it(store: Store) -> None:
    def fails() -> None:
        with store.write() as connection:
            connection.execute(text("INSERT INTO control VALUES ('a', 'b')"))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fails()
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM control")).scalar() == 0


def test_several_processes_that_create_the_store_at_once_all_find_it_usable(path: Path) -> None:
    assert together(CREATE, *[(f"sqlite:///{path}",)] * 4) == ["current\n"] * 4


def test_connections_that_meet_at_a_new_file_all_get_through(tmp_path: Path) -> None:
    for attempt in range(60):
        stores = [Store(f"sqlite:///{tmp_path / str(attempt)}.db") for _ in range(6)]
        barrier, met = threading.Barrier(len(stores)), []

        def connect(store: Store, barrier: threading.Barrier = barrier, met: list[str] = met) -> None:
            barrier.wait(10)
            with store.write() as connection:
                met.append(str(connection.execute(text("PRAGMA journal_mode")).scalar()))

        threads = [threading.Thread(target=connect, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        for store in stores:
            store.close()
        assert met == ["wal"] * len(stores)


def test_processes_that_race_for_steps_share_them_without_overlap(store: Store) -> None:
    work = Work(store)
    wanted = {work.step(work.job(), "a").id for _ in range(24)}
    answers = together(CLAIM, *[(f"sqlite:///{store.path}",)] * 3)
    got = [tuple(pair) for answer in answers for pair in json.loads(answer)]
    assert len(got) == len(wanted)
    assert set(got) == {(step, 1) for step in wanted}
    assert work.reserved() == []


def test_of_many_threads_that_claim_one_step_exactly_one_gets_it(store: Store) -> None:
    work = Work(store)
    workers = [work.worker() for _ in range(8)]
    job = work.job()
    barrier, got = threading.Barrier(8), []

    def race(worker: int) -> None:
        barrier.wait(10)
        if (claim := work.claim(worker)) is not None:
            got.append(claim.worker_id)

    threads = [threading.Thread(target=race, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 1
    assert work.step(job, "a").worker_id == got[0]


def test_of_two_threads_that_finish_one_attempt_exactly_one_publishes(store: Store) -> None:
    work = Work(store)
    worker, _ = work.worker(), work.job()
    claim = work.claimed(worker)
    barrier, published, answers = threading.Barrier(2), [], []

    def race(name: str) -> None:
        barrier.wait(10)
        answers.append(work.finish(claim, publish=lambda: published.append(name)))

    threads = [threading.Thread(target=race, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(published) == 1
    assert sorted(answers, key=str) == [0, None]


# -- a store that cannot be used


def opened(path: Path) -> None:
    store = Store(f"sqlite:///{path}", busy_seconds=0.1)
    try:
        schema.require_current(store, create=True)
        with store.write() as connection:
            connection.execute(text("INSERT INTO control VALUES ('x', 'y')"))
    finally:
        store.close()


@pytest.mark.parametrize("damage", ["no database at all", "a torn first page", "torn pages further on"])
def test_a_damaged_store_is_reported_and_its_bytes_are_left_alone(store: Store, damage: str) -> None:
    work = Work(store)
    for _ in range(20):
        work.job()
    store.close()
    assert store.path is not None
    content = bytearray(store.path.read_bytes())
    if damage == "no database at all":
        content[:] = b"this is a text file\n" * 500
    elif damage == "a torn first page":
        content[100:4096] = b"\xff" * 3996
    else:
        content[4096:] = b"\xff" * (len(content) - 4096)
    store.path.write_bytes(content)
    with pytest.raises(NotReadyError) as caught:
        opened(store.path)
    assert caught.value.code == "store_corrupt"
    assert str(store.path) in caught.value.message
    assert "backup" in (caught.value.remedy or "")
    assert store.path.read_bytes() == content


def test_a_store_in_a_missing_folder_is_reported_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        opened(tmp_path / "missing" / "store.db")
    assert "writable" in (caught.value.remedy or "")


@pytest.fixture
def mounted(tmp_path: Path) -> Any:
    """Mount a small tmpfs on a new folder, and remount it as asked; taken down at the end."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_store_on_a_read_only_disk_is_reported_with_a_remedy(mounted: Path) -> None:
    opened(mounted / "there.db")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    for name in ("there.db", "new.db"):
        with pytest.raises(StoreUnavailable) as caught:
            opened(mounted / name)
        assert f"make {mounted} writable" in (caught.value.remedy or "")


def test_a_full_disk_is_reported_and_what_was_committed_stays(mounted: Path) -> None:
    store = Store(f"sqlite:///{mounted / 'store.db'}")
    schema.upgrade(store)
    work, kept = Work(store), []
    with pytest.raises(StoreUnavailable) as caught:
        kept.extend(work.job() for _ in range(3000))
    assert "free space" in (caught.value.remedy or ""), caught.value
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar() == len(kept)
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    store.close()


def test_nothing_is_made_when_only_a_look_was_asked_for(path: Path) -> None:
    with pytest.raises(NotReadyError) as caught:
        Store(f"sqlite:///{path}", create=False)
    assert caught.value.code == "store_missing"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nonsense", "postgresql://host:port/x"])
def test_a_url_that_is_no_lasting_database_is_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(QmrunnerError) as caught:
        Store(url)
    assert isinstance(caught.value, UsageError | NotReadyError)
    assert caught.value.code == "store_url"
    assert "sqlite:////" in (caught.value.remedy or "")


def test_the_password_of_a_server_is_never_shown() -> None:
    pytest.importorskip("psycopg")
    store = Store("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in store.url
    with pytest.raises(NotReadyError) as caught:
        schema.require_current(store, create=False)
    assert "secret" not in str(caught.value)
    store.close()
