"""Storage that fails: engines compute on, nothing wrong is used, and the messages name the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qmrunner.app import App
from qmrunner.artifacts.blobs import digest
from qmrunner.store import artifacts as rows
from tests.artifacts.conftest import Machines, Place
from tests.artifacts.s3 import Wire
from tests.support import Daemon, Home, wait_for

FINAL = ("succeeded", "failed", "cancelled", "held")


def ended(home: Home, job: str, deadline_s: float = 90.0) -> str:
    wait_for(lambda: home.job(job)["state"] in FINAL, deadline_s, "the job's end")
    return str(home.job(job)["state"])


def running(home: Home, job: str) -> bool:
    return bool(home.job(job)["steps"][0]["state"] == "running")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_without_object_storage_engines_compute_on_and_commit_once_when_it_is_back(
    machines: Machines, wire: Wire, daemon: Callable[..., Daemon]
) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    worker = daemon(on=there)
    job = str(here.json("submit", "xtb", machines.structure(gate=1))["id"])
    waiting = str(here.json("submit", "xtb", machines.structure())["id"])
    wait_for(lambda: running(here, job), 30.0, "a running engine")
    ended(here, waiting)
    wire.cut()
    machines.open_gate()
    wait_for(lambda: worker.events("commit_waits"), 60.0, "the commit to wait")
    assert [event["code"] for event in worker.events("artifacts_lost")] == ["artifacts_unavailable"]
    beats = {row["name"]: row["heartbeat_age_s"] for row in here.json("status")["workers"]}
    assert beats["there"] < 10.0
    seen = wait_for(lambda: there.json("status")["artifacts"]["lost_s"], 30.0, "status to tell")
    assert seen > 0
    refused = here.run("submit", "xtb", machines.structure())
    assert refused.returncode == 4
    assert "artifacts_unavailable" in refused.stderr
    assert here.job(job)["steps"][0]["state"] == "running"
    wire.mend()
    assert ended(here, job) == "succeeded"
    assert here.job(job)["steps"][0]["attempt"] == 1
    assert len(worker.told("artifacts_back")) == 1
    assert (Path(here.json("result", job)["folder"]) / "result.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_a_step_waits_for_object_storage_and_reports_it(
    machines: Machines, wire: Wire, daemon: Callable[..., Daemon]
) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    jobs = [str(here.json("submit", "xtb", machines.structure())["id"]) for _ in range(2)]
    wire.cut()
    worker = daemon(on=there)
    wait_for(lambda: worker.events("inputs_not_brought"), 60.0, "a step that cannot begin")
    told = wait_for(lambda: waits(here, jobs), 60.0, "why to tell")
    assert "the artifact store s3://" in told
    wire.mend()
    for job in jobs:
        assert ended(here, job) == "succeeded"
        assert here.job(job)["steps"][0]["code"] is None


def waits(home: Home, jobs: list[str]) -> str:
    told = (home.json("why", job)["waits_for"] or "" for job in jobs)
    return next((text for text in told if "artifact store" in text and "does not answer" in text), "")


def test_a_damaged_input_is_not_computed_with(machines: Machines, place: Place, daemon: Callable[..., Daemon]) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    there.extra["QMRUNNER_MAX_RETRIES"] = "1"
    structure = machines.structure()
    job = str(here.json("submit", "xtb", structure)["id"])
    place.overwrite(digest(Path(structure)).sha256, Path(structure).read_bytes().replace(b"O", b"S"))
    worker = daemon(on=there)
    assert ended(here, job) == "failed"
    told = here.json("why", job)
    assert told["code"] == "artifact_damaged"
    assert Path(structure).name in told["summary"]
    assert told["remedy"]
    assert {event["code"] for event in worker.told("artifact_damaged")} == {"artifact_damaged"}
    assert [one["usage"] for one in told["attempts"]] == [{}, {}]  # no engine was started


@pytest.mark.slow
def test_a_truncated_result_is_reported_and_not_shown(
    machines: Machines, place: Place, daemon: Callable[..., Daemon]
) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    job = str(here.json("submit", "xtb", machines.structure())["id"])
    daemon(on=there)
    assert ended(here, job) == "succeeded"
    file = published(here, job, "xtb/energy")
    place.overwrite(file.sha256, b"half")
    shown = here.json("result", job)  # the numbers are in the store
    assert "xtb/energy" in shown["files"]
    refused = here.run("result", job, "--out", str(here.path.parent / "out"))
    assert refused.returncode == 4
    assert "artifact_damaged" in refused.stderr
    assert "xtb/energy" in refused.stderr
    assert not (here.path / "jobs" / job / "xtb" / "energy").exists()
    assert there.run("result", job, "--out", str(there.path.parent / "out")).returncode == 0  # it has the file itself


def test_what_was_damaged_is_computed_again_when_the_same_is_asked_again(
    machines: Machines, place: Place, daemon: Callable[..., Daemon]
) -> None:
    here, there, third = (machines.stand_in(name) for name in ("here", "there", "third"))
    for home in (here, there, third):
        home.extra["QMRUNNER_REUSE"] = "on"
    structure = machines.structure()
    first = str(here.json("submit", "xtb", structure)["id"])
    worker = daemon(on=there)
    assert ended(here, first) == "succeeded"
    worker.stop()
    other = daemon(on=third)
    again = str(here.json("submit", "xtb", structure)["id"])
    assert ended(here, again) == "succeeded"
    assert [event["source"] for event in other.told("step_reused")] == [f"{first}/xtb"]  # brought and verified
    other.stop()
    for name in ("jobs", "scratch"):
        for path in sorted((third.path / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    place.overwrite(published(here, first, "xtb/energy").sha256, b"damaged")
    fresh = daemon(on=third)
    last = str(here.json("submit", "xtb", structure)["id"])
    assert ended(here, last) == "succeeded"
    assert fresh.told("step_ended", last)
    assert not fresh.events("step_reused")
    assert published(here, last, "xtb/energy").sha256 != published(here, first, "xtb/energy").sha256  # its own name


def published(home: Home, job: str, path: str) -> rows.File:
    app = App(home.settings)
    try:
        with app.store.read() as connection:
            return rows.of_job(connection, job, rows.JOB, paths=[path])[0]
    finally:
        app.close()


def test_the_log_of_a_failed_step_is_read_elsewhere(machines: Machines, daemon: Callable[..., Daemon]) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    there.extra["QMRUNNER_MAX_RETRIES"] = "0"
    there.extra["QMRUNNER_STOP_GRACE_SECONDS"] = "60"  # a quarter of it is what sending the log may take
    job = str(here.json("submit", "xtb", machines.structure(exit=1))["id"])
    daemon(on=there)
    assert ended(here, job) == "failed"
    shutil.rmtree(there.path / "logs")  # both see the same disk here
    assert "abnormal termination of xtb" in here.run("logs", job).stdout
    assert (here.path / "logs" / job / "xtb.1.log").is_file()
