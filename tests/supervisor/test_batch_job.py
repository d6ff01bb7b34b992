"""Temporary homes: removed at the end, and after a death by the next daemon beside them. Nothing else is touched."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from qmrunner.guardian import process
from qmrunner.host.home import LOCK
from qmrunner.settings import load
from qmrunner.supervisor.batch_job import MARKER, BatchJob, leftovers
from tests.support import Home


def home(path: Path, *, marked: bool = True) -> Path:
    """What a killed daemon leaves."""
    (path / "run").mkdir(parents=True)
    (path / "run" / LOCK).write_text("{}")
    attempt = path / "scratch" / "job" / "step" / "1"
    (attempt / "work").mkdir(parents=True)
    (attempt / process.LOCK).touch()
    if marked:
        (path / MARKER).write_text("")
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return home(tmp_path / "qmrunner-9-0")


def test_the_home_of_a_dead_daemon_is_a_leftover(own: Path, tmp_path: Path) -> None:
    dead = home(tmp_path / "qmrunner-8-0")
    assert leftovers(own) == [dead]


@pytest.mark.parametrize("lock", [f"run/{LOCK}", f"scratch/job/step/1/{process.LOCK}"])
def test_a_living_daemon_or_guardian_keeps_its_home(own: Path, tmp_path: Path, lock: str) -> None:
    living = home(tmp_path / "qmrunner-8-0")
    with open(living / lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert leftovers(own) == []
    assert leftovers(own) == [living]


def test_folders_without_the_marker_or_of_others_are_not_touched(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home(tmp_path / "qmrunner-data", marked=False)
    (tmp_path / "half" / "run").mkdir(parents=True)
    (tmp_path / "half" / MARKER).touch()
    elsewhere = home(tmp_path / "deep" / "elsewhere")
    (tmp_path / "link").symlink_to(elsewhere)
    assert leftovers(own) == []
    home(tmp_path / "qmrunner-8-0")
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert leftovers(own) == []


def pilot(tmp_path: Path) -> Home:
    """A home of which nothing needs to be kept: store and jobs are elsewhere."""
    shared = tmp_path / "shared"
    shared.mkdir(exist_ok=True)
    extra = {"QMRUNNER_STORE_URL": f"sqlite:///{shared}/store.db", "QMRUNNER_JOBS": f"{shared}/jobs"}
    return Home(tmp_path / "qmrunner-9-0", extra)


@pytest.mark.parametrize("inside", ["QMRUNNER_STORE_URL", "QMRUNNER_JOBS", "something else"])
def test_a_home_whose_removal_would_lose_something_is_refused(tmp_path: Path, inside: str) -> None:
    mine = pilot(tmp_path)
    mine.extra.pop(inside, None)
    mine.path.mkdir()
    if inside not in ("QMRUNNER_STORE_URL", "QMRUNNER_JOBS"):
        (mine.path / "notes.txt").write_text("of the user")
    ended = mine.run("run", "--until-idle", "--temporary-home")
    assert ended.returncode == 2
    assert "home_not_temporary" in ended.stderr
    assert mine.path.exists()


def test_a_daemon_with_a_temporary_home_removes_it_and_those_of_dead_ones(tmp_path: Path) -> None:
    dead, other = home(tmp_path / "qmrunner-8-0"), home(tmp_path / "other", marked=False)
    mine = pilot(tmp_path)
    ended = mine.run("run", "--until-idle", "--temporary-home")
    assert ended.returncode == 0, ended
    assert not dead.exists()
    assert not mine.path.exists()
    assert other.exists()


def test_a_second_daemon_on_a_home_does_not_remove_it(own: Path, tmp_path: Path) -> None:
    with open(own / "run" / LOCK, "r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = pilot(tmp_path).run("run", "--until-idle", "--temporary-home")
        assert ended.returncode == 4
        assert "home_in_use" in ended.stderr
    assert (own / "scratch").exists()


def test_an_engine_that_still_runs_keeps_the_home(own: Path) -> None:
    with open(own / "scratch/job/step/1" / process.LOCK) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        BatchJob(temporary_home=True).end(load({"QMRUNNER_HOME": str(own)}))
    assert own.exists()
    BatchJob(temporary_home=False).end(load({"QMRUNNER_HOME": str(own)}))
    assert own.exists()
    BatchJob(temporary_home=True).end(load({"QMRUNNER_HOME": str(own)}))
    assert not own.exists()
