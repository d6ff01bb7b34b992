"""A job had ended, or was held, when its store got an artifact store, and an operator resumes it: nothing has sent its
files by then, and a worker elsewhere must not fail it because they are missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qmrunner.app import App
from tests.artifacts.conftest import STAND_IN, Machines, Place
from tests.artifacts.test_earlier_jobs import an_app, state_of, submitted
from tests.support import Daemon, Home, wait_for

FINAL = ("succeeded", "failed", "cancelled")


@pytest.mark.parametrize(("before", "after"), [("cancel", "retry"), ("hold", "release")])
def test_a_job_that_was_not_waiting_is_held_until_its_files_were_sent(
    tmp_path: Path, store_url: str, before: str, after: str
) -> None:
    from qmrunner.store import operator_actions

    old, node = (an_app(tmp_path, store_url, name, artifacts=name == "node") for name in ("old", "node"))
    folder = submitted(old, "abc", host="old1", folder=str(tmp_path / "old" / "jobs" / "abc"))
    out_of_reach = folder.rename(tmp_path / "out-of-reach")  # of the other machine: here both see one disk

    def act(verb: str) -> None:
        with node.store.write() as connection:
            getattr(operator_actions, verb)(connection, node.store.now(), "abc")

    node.open_store(create=False)
    act(before)
    node.verify_artifacts()
    for verb in (after, "release"):
        act(verb)
        assert state_of(node, "abc") == ("held", "inputs_elsewhere")
        node.send_unsent({"abc"})
        assert state_of(node, "abc") == ("held", "inputs_elsewhere")
    out_of_reach.rename(folder)
    node.send_unsent({"abc"})
    assert state_of(node, "abc") == ("queued", None)
    act("hold"), act("release")
    assert state_of(node, "abc") == ("queued", None)
    old.close(), node.close()


def test_machines_that_share_their_folders_need_no_artifact_store(tmp_path: Path, store_url: str) -> None:
    from qmrunner.store import operator_actions

    app = an_app(tmp_path, store_url, "old", artifacts=False)
    submitted(app, "abc")
    for verb in ("hold", "release", "cancel", "retry"):
        with app.store.write() as connection:
            getattr(operator_actions, verb)(connection, app.store.now(), "abc")
    assert state_of(app, "abc") == ("queued", None)
    app.close()


@pytest.fixture
def machines(tmp_path: Path, postgres_database: str, folder: Place) -> Machines:
    return Machines(tmp_path, postgres_database, folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sender", ["running worker", "command"])
def test_a_failed_job_is_retried_on_another_machine(
    machines: Machines, daemon: Callable[..., Daemon], sender: str
) -> None:
    """Two daemons without a shared disk: the job failed on one before the artifact store was set."""
    old, new = machines.stand_in("old"), machines.stand_in("new")
    place = old.extra.pop("QMRUNNER_ARTIFACTS")
    broken = old.path.parent / "broken"
    broken.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {STAND_IN} "$@" ;; esac\nexit 3\n')
    broken.chmod(0o755)
    daemon(on=old, QMRUNNER_XTB=str(broken), QMRUNNER_MAX_RETRIES="0")
    job = str(old.json("submit", "xtb", machines.structure())["id"])
    wait_for(lambda: old.job(job)["state"] in FINAL, 60.0, "the job's end")
    assert old.job(job)["state"] == "failed"
    _restart(daemon, old, place)
    old.run("drain")
    jobs = old.settings.jobs_root.rename(old.path / "out-of-reach")  # of the other machine: here both see one disk
    daemon(on=new)
    assert new.json("retry", job)["state"] == "held"
    why = new.json("why", job)
    assert why["code"] == "inputs_elsewhere"
    assert str(old.settings.jobs_root / job) in why["summary"]
    if sender == "command":
        old.end_processes()
        new.end_processes()  # either worker could send them first
    jobs.rename(old.settings.jobs_root)
    if sender == "command":
        assert old.json("release", job)["state"] == "queued"
        daemon(on=new)
    else:
        with closing(App(new.settings)) as app, app.store.write() as connection:
            from qmrunner.store import operator_actions

            # A command there would send them itself: another operator, on a third machine.
            operator_actions.cancel(connection, app.store.now(), job)
            operator_actions.retry(connection, app.store.now(), job)
    shutil.rmtree(new.settings.jobs_root / job, ignore_errors=True)
    wait_for(lambda: new.job(job)["state"] in FINAL, 60.0, "the job's end on the other machine")
    why = new.json("why", job)
    assert new.job(job)["state"] == "succeeded", why
    assert (new.settings.jobs_root / job / "input").is_dir()


def _restart(daemon: Callable[..., Daemon], home: Home, place: str) -> None:
    home.end_processes()
    home.extra["QMRUNNER_ARTIFACTS"] = place
    daemon(on=home)
