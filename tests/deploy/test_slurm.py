"""The script of a pilot as Slurm starts it, with its variables, around a real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT, Home, wait_for
from tests.surroundings import plain

SCRIPT = ROOT / "qmrunner" / "slurm" / "pilot.sbatch"
WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


class Pilot:
    """One run of the script, as job 4711. Several homes share the store; here it is SQLite, on one machine."""

    def __init__(self, tmp_path: Path, walltime: str) -> None:
        self.local = tmp_path / "node"
        self.local.mkdir()
        (tmp_path / "shared" / "artifacts").mkdir(parents=True)
        shared = {
            "QMRUNNER_JOBS": str(tmp_path / "shared" / "jobs"),
            "QMRUNNER_ARTIFACTS": f"file://{tmp_path}/shared/artifacts",
        }
        self.home = Home(tmp_path / "submitter", shared)
        program = tmp_path / "program"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m qmrunner "$@"\n')
        program.chmod(0o755)
        self.environment = {
            **plain(),
            "PYTHONPATH": str(ROOT),
            "SLURM_JOB_ID": "4711",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_MEM_PER_NODE": "4000",
            "SLURM_TMPDIR": str(self.local),
            "PILOT_PROGRAM": str(program),
            "PILOT_SHARED": str(tmp_path / "shared"),
            "PILOT_WALLTIME": walltime,
            "QMRUNNER_STORE_URL": f"sqlite:///{self.home.path}/store.db",
            "QMRUNNER_QUEUE_URL": f"sqlite:///{self.home.path}/queue.db",
            "QMRUNNER_STOP_GRACE_SECONDS": "5",
        }

    @contextmanager
    def running(self, output: Path) -> Iterator[subprocess.Popen[bytes]]:
        with (
            open(output, "wb") as sink,
            subprocess.Popen(
                ["bash", str(SCRIPT)], env=self.environment, stdout=sink, stderr=sink, start_new_session=True
            ) as script,
        ):
            try:
                yield script
            finally:
                if script.poll() is None:  # it and its daemon; the rest of the daemon ends with it
                    os.killpg(script.pid, signal.SIGKILL)


def submit(pilot: Pilot, tmp_path: Path, *args: str) -> str:
    path = tmp_path / "w.xyz"
    path.write_text(WATER)
    ended = pilot.home.run("submit", "xtb", str(path), *args)
    assert ended.returncode == 0, ended
    return ended.stdout.strip()


@pytest.mark.engine
def test_a_pilot_does_what_waits_ends_well_and_leaves_the_node_clean(tmp_path: Path) -> None:
    pilot = Pilot(tmp_path, "10:00")
    job = submit(pilot, tmp_path)
    with pilot.running(tmp_path / "out") as script:
        assert script.wait(60) == 0, (tmp_path / "out").read_text()
    assert pilot.home.job(job)["state"] == "succeeded"
    assert list(pilot.local.iterdir()) == []


@pytest.mark.engine
def test_a_pilot_that_gets_a_stop_signal_drains(tmp_path: Path) -> None:
    """As `scancel`, a preemption or the warning before the wall time do it: TERM to the script."""
    pilot = Pilot(tmp_path, "1-00:00:00")
    (tmp_path / "md.inp").write_text("$md\n temp=298\n time=5000\n step=1\n$end\n")
    job = submit(pilot, tmp_path, "--with", str(tmp_path / "md.inp"), "--", "--md", "--input", "md.inp")
    with pilot.running(tmp_path / "out") as script:
        wait_for(lambda: pilot.home.job(job)["steps"][0]["state"] == "running", 30.0, "a running engine")
        script.send_signal(signal.SIGTERM)
        assert script.wait(60) == 0, (tmp_path / "out").read_text()
    step = pilot.home.job(job)["steps"][0]
    assert step["state"] == "ready"
    assert pilot.home.json("why", job)["attempts"][0]["state"] == "stopped"
    assert list(pilot.local.iterdir()) == []


@pytest.mark.engine
def test_a_pilot_whose_temporary_folder_is_that_of_the_login_node_uses_another(tmp_path: Path) -> None:
    pilot = Pilot(tmp_path, "10:00")
    job = submit(pilot, tmp_path)
    pilot.environment |= {"SLURM_TMPDIR": "/nowhere/login", "TMPDIR": str(pilot.local)}
    with pilot.running(tmp_path / "out") as script:
        assert script.wait(60) == 0, (tmp_path / "out").read_text()
    assert pilot.home.job(job)["state"] == "succeeded"
    assert f'"home": "{pilot.local}/qmrunner-4711-0"' in (tmp_path / "out").read_text()
    assert list(pilot.local.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"QMRUNNER_STORE_URL": ""}, "no store is set"),
        ({"QMRUNNER_CONFIG": "/nowhere/qmrunner.env"}, "must be on the shared filesystem"),
        ({"PILOT_PROGRAM": "/nowhere/qmrunner"}, "set PILOT_PROGRAM"),
    ],
)
def test_a_pilot_that_cannot_work_ends_at_once_with_what_to_do(
    tmp_path: Path, given: dict[str, str], words: str
) -> None:
    pilot = Pilot(tmp_path, "10:00")
    pilot.environment.update(given)
    with pilot.running(tmp_path / "out") as script:
        assert script.wait(20) == 2
    assert words in (tmp_path / "out").read_text()
    assert list(pilot.local.iterdir()) == []


@pytest.mark.engine
def test_the_settings_may_be_in_a_file_and_redis_is_not_needed(tmp_path: Path) -> None:
    pilot = Pilot(tmp_path, "UNLIMITED")
    job = submit(pilot, tmp_path)
    file = tmp_path / "shared" / "qmrunner.env"
    file.write_text(f" QMRUNNER_STORE_URL = {pilot.environment.pop('QMRUNNER_STORE_URL')}\n")
    del pilot.environment["QMRUNNER_QUEUE_URL"]
    pilot.environment["QMRUNNER_CONFIG"] = str(file)
    with pilot.running(tmp_path / "out") as script:
        assert script.wait(60) == 0, (tmp_path / "out").read_text()
    assert pilot.home.job(job)["state"] == "succeeded"
    assert list(pilot.local.iterdir()) == []
