"""A store gets its artifact store while a worker without one computes: what that worker computes is not lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qmrunner.app import App
from qmrunner.store import events
from qmrunner.store.artifacts import JOB
from tests.artifacts.conftest import Machines, Place
from tests.support import Daemon, Home, missing, wait_for

GATED = Path(__file__).parents[1] / "stand_ins" / "late_xtb.sh"
FINAL = ("succeeded", "failed", "cancelled")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def machines(tmp_path: Path, postgres_database: str, folder: Place) -> Machines:
    if shutil.which("xtb") is None:
        missing("xTB is not installed; `make setup` installs it as root")
    return Machines(tmp_path, postgres_database, folder)


@pytest.fixture
def old(machines: Machines) -> Home:
    """A machine without the setting, whose xTB waits for the gate."""
    found = machines.home("old", QMRUNNER_XTB=str(GATED))
    del found.extra["QMRUNNER_ARTIFACTS"]
    return found


@pytest.fixture
def pair(machines: Machines) -> Callable[[Home], None]:
    """What each command and each start of a worker does on a machine with the setting."""

    def verify(home: Home) -> None:
        with closing(App(home.settings)) as app:
            app.make_home()
            app.verify_artifacts(at_start=True)

    return verify


def steps(home: Home, job: str, stage: str) -> list[str]:
    return [str(step["state"]) for step in home.job(job)["steps"] if step["id"].startswith(stage)]


def test_the_next_step_waits_for_the_files_and_then_runs_on_another_machine(
    machines: Machines, old: Home, pair: Callable[[Home], None], daemon: Callable[..., Daemon]
) -> None:
    """A job without input files: its finished first step is sent when the artifact store is set, its running second
    step when its worker knows of it."""
    new = machines.home("new")
    worker = daemon(on=old)
    job = str(old.json("submit", "conformers", "CO", "--conformers", "rdkit", "--max-conformers", "1")["id"])
    wait_for(lambda: steps(old, job, "preopt") == ["running"], 100.0, "xTB on the old worker")
    pair(new)
    machines.open_gate()
    wait_for(lambda: steps(old, job, "preopt") == ["succeeded"], 60.0, "its end")
    assert worker.stop() == 0
    jobs = old.settings.jobs_root.rename(old.path / "out-of-reach")  # of the other machine: here both see one disk
    daemon(on=new)
    assert new.job(job)["state"] == "held"
    why = new.json("why", job)
    assert why["code"] == "inputs_elsewhere"
    assert str(old.settings.jobs_root / job) in why["summary"]
    assert steps(new, job, "select") == ["ready"]
    jobs.rename(old.settings.jobs_root)
    old.extra["QMRUNNER_ARTIFACTS"] = new.extra["QMRUNNER_ARTIFACTS"]
    pair(old)
    wait_for(lambda: new.job(job)["state"] in FINAL, 60.0, "the job's end on the new worker")
    assert new.job(job)["state"] == "succeeded", new.json("why", job)
    assert [attempt["state"] for attempt in new.json("why", job)["attempts"]] == ["succeeded"] * 3
    with closing(App(new.settings)) as app, app.store.read() as connection:
        names = [event["event"] for event in events.of_job(connection, job)]
    assert names.count("results_elsewhere") == 1
    assert names.count("job_held") == names.count("job_released") == 1


def test_the_result_of_a_job_that_ended_there_is_sent_with_the_next_start(
    machines: Machines, old: Home, pair: Callable[[Home], None], daemon: Callable[..., Daemon]
) -> None:
    new = machines.home("new")
    worker = daemon(on=old)
    job = str(old.json("submit", "xtb", machines.structure())["id"])
    wait_for(lambda: steps(old, job, "xtb") == ["running"], 60.0, "xTB on the old worker")
    pair(new)
    machines.open_gate()
    wait_for(lambda: old.job(job)["state"] in FINAL, 60.0, "the job's end")
    assert old.job(job)["state"] == "succeeded"
    worker.kill()
    daemon(on=old, QMRUNNER_ARTIFACTS=new.extra["QMRUNNER_ARTIFACTS"])
    with closing(App(new.settings)) as app:
        artifacts = app.artifacts
        assert artifacts is not None

        def files() -> dict[str, str | None]:
            return {file.path: file.step for file in artifacts.files(job, JOB)}

        wait_for(lambda: files().get("xtb/output.log") == "xtb", 60.0, "the files of the step")
        sent = files()
    assert any("/" not in path for path in sent), sent  # promoted to the job's folder
    shutil.rmtree(old.settings.jobs_root / job)
    result = new.json("result", job)
    assert {"result.json", "xtb/output.log"} <= set(result["files"])
