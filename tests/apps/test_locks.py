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
    of_huey = [(Huey, name) for name in ("put_if_empty", "delete", "flush_locks")]
    for kind, name in [*of_huey, (TaskLock, "clear"), (TaskLock, "release")]:
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


class Timed(TaskLock):  # type: ignore[misc]
    """As an application may write it: the value is the time at which it was taken."""

    def __init__(self, huey: Any, name: str, value: Any) -> None:
        super().__init__(huey, name)
        self.value = value

    def acquire(self) -> Any:
        return self._huey.put_if_empty(self._key, self.value)


@pytest.mark.parametrize("value", ["1796119653.79", 1796119653.79, "always the same"])
def test_locks_with_values_of_the_application_have_owners_too(
    hueys: tuple[Any, Any], tmp_path: Path, value: Any
) -> None:
    own, huey = hueys
    held, free, other = (Timed(huey, name, value) for name in ("held", "free", "other"))
    for folder in "12":
        (tmp_path / folder).mkdir()
    locks.own(str(tmp_path / "1"), FIRST)
    assert held.acquire()
    assert not held.acquire()  # it stays the attempt's own
    assert huey.get(held._key, peek=True) == value
    assert free.acquire()
    huey.delete(free._key)
    locks.disown()
    locks.own(str(tmp_path / "2"), SECOND)
    assert free.acquire()
    assert other.acquire()
    locks.disown()
    locks.own(str(tmp_path / "1"), FIRST)
    assert not other.acquire()
    locks.disown()
    locks.release(own, str(tmp_path / "1"), FIRST)
    assert [lock.is_locked() for lock in (held, free, other)] == [False, True, True]
    locks.release(own, str(tmp_path / "2"), SECOND)
    assert not free.is_locked()
    assert not other.is_locked()


def test_locks_that_the_version_before_has_noted_are_released(hueys: tuple[Any, Any], tmp_path: Path) -> None:
    own, huey = hueys
    hold(tmp_path / "1", FIRST, huey, "held")
    (tmp_path / "1/locks").write_text(f"{huey.name}.lock.held\n")
    locks.release(own, str(tmp_path / "1"), FIRST)
    assert not huey.is_locked("held")


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
