"""Locks that have owners, of every Huey object of an application."""

from __future__ import annotations

import pickle
import secrets
from pathlib import Path
from typing import Any

import pytest
from huey import SqliteHuey
from huey.api import Huey, TaskLock
from huey.serializer import Serializer

from qmrunner.apps.side import locks, sharing

FIRST, SECOND = "job/task/1", "job/task/2"


class Salted(Serializer):  # type: ignore[misc]  # huey has no types
    """As one that encrypts: no value has the same bytes twice."""

    def _serialize(self, data: Any) -> bytes:
        return secrets.token_bytes(8) + pickle.dumps(data)

    def _deserialize(self, data: bytes) -> Any:
        return pickle.loads(data[8:])


@pytest.fixture(params=["the task's own", "another"])
def hueys(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The Huey object of a task, and the one with whose locks it locks."""
    for kind, name in ((Huey, "put_if_empty"), (Huey, "flush_locks"), (TaskLock, "clear"), (TaskLock, "release")):
        monkeypatch.setattr(kind, name, getattr(kind, name))
    monkeypatch.setattr(sharing, "_hueys", [])
    own = SqliteHuey("own", filename=str(tmp_path / "own.db"), serializer=Salted())
    other = SqliteHuey("other", filename=str(tmp_path / "other.db"), serializer=Salted())
    locks.give_owners()
    return own, own if request.param == "the task's own" else other


def hold(folder: Path, marker: str, huey: Any, *names: str) -> None:
    """What an attempt does that dies with its locks."""
    folder.mkdir()
    locks.own(str(folder), marker)
    for name in names:
        huey.lock_task(name).acquire()
    locks.disown()


def test_only_the_locks_that_a_dead_attempt_still_holds_are_released(hueys: tuple[Any, Any], tmp_path: Path) -> None:
    own, huey = hueys
    hold(tmp_path / "1", FIRST, huey, "held", "handed on")
    huey.delete("own.lock.handed on" if huey is own else "other.lock.handed on")
    hold(tmp_path / "2", SECOND, huey, "handed on", "later")
    locks.release(own, str(tmp_path / "1"), FIRST)
    assert [huey.is_locked(name) for name in ("held", "handed on", "later")] == [False, True, True]
    locks.release(own, str(tmp_path / "2"), SECOND)
    assert not huey.is_locked("handed on")
    assert not huey.is_locked("later")


def test_a_start_of_the_application_leaves_locks_of_attempts_alone(hueys: tuple[Any, Any], tmp_path: Path) -> None:
    """By `flush_locks` or `clear`, in its import or its startup hooks: attempts outlive a restart of the app host."""
    _, huey = hueys
    hold(tmp_path / "1", FIRST, huey, "living")
    huey.lock_task("plain").acquire()  # of a plain consumer's task, by its value
    assert huey.flush_locks("living", "plain", "none") == {"plain"}
    assert not huey.lock_task("living").clear()
    assert (huey.is_locked("living"), huey.is_locked("plain")) == (True, False)
    huey.lock_task("plain").acquire()
    assert huey.lock_task("plain").clear()
    (tmp_path / "2").mkdir()
    locks.own(str(tmp_path / "2"), SECOND)  # a task may clear what it wants, as under Huey
    assert huey.lock_task("living").clear()
    locks.disown()
    assert not huey.is_locked("living")
