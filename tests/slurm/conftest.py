"""One Slurm and one PostgreSQL for all tests of this folder; a store, a shared folder and settings for each test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.slurm import cluster
from tests.slurm.cluster import Cluster
from tests.support import ROOT, Home, missing, wait_for

SCRIPT = ROOT / "qmrunner" / "slurm" / "pilot.sbatch"
# Short enough for tests; a lease is longer than a pause of a machine with two busy cores.
SHORT = {
    "QMRUNNER_HEARTBEAT_SECONDS": "0.5",
    "QMRUNNER_LEASE_SECONDS": "5",
    "QMRUNNER_RETRY_DELAY_SECONDS": "0.1",
    "QMRUNNER_CHECKPOINT_SECONDS": "1",
    "QMRUNNER_REUSE": "off",
    "QMRUNNER_CONFINE_ALLOW": str(ROOT / "tests"),
}
WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


@pytest.fixture(scope="session")
def _slurm() -> Iterator[Cluster]:
    if lacking := cluster.absent():
        missing(f"not installed: {', '.join(lacking)}; `deploy/setup.sh slurm` installs them")
    with cluster.running() as running:
        yield running


class Site:
    """A user's view of the cluster: one file of settings for the login node and for the pilots."""

    def __init__(self, slurm: Cluster, url: str, folder: Path) -> None:
        self.slurm = slurm
        self.folder = folder
        self.shared = folder / "shared"
        (self.shared / "artifacts").mkdir(parents=True)
        program = folder / "qmrunner"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m qmrunner "$@"\n')
        program.chmod(0o755)
        self.config = self.shared / "qmrunner.env"
        settings = {
            "QMRUNNER_STORE_URL": url,
            "QMRUNNER_ARTIFACTS": f"file://{self.shared}/artifacts",
            "QMRUNNER_JOBS": f"{self.shared}/jobs",
            "QMRUNNER_SBATCH_OPTIONS": "--cpus-per-task=1 --mem=1000 --time=10 --nodelist=n2",
            **SHORT,
        }
        self.config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.home = Home(folder / "login")  # of the login node: nothing but the file of settings
        self.home.extra = {"QMRUNNER_CONFIG": str(self.config)}
        self.variables: dict[str, str] = {
            "QMRUNNER_CONFIG": str(self.config),
            "PILOT_PROGRAM": str(program),
            "PYTHONPATH": str(ROOT),
        }

    def pilot(self, *options: str, **more: str) -> str:
        """`sbatch` of the script as it is shipped; the id of the job."""
        size = [] if any(option.startswith("--mem") for option in options) else ["--mem=3000"]
        out = self.slurm.run(
            "sbatch", "--parsable", "--cpus-per-task=1", *size, f"--output={self.folder}/pilot-%j.log", *options,
            str(SCRIPT), **self.variables, **more,
        )  # fmt: skip
        return out.partition(";")[0]

    def submit(self, *args: str) -> str:
        ended = self.home.run("submit", *args)
        assert ended.returncode == 0, ended
        return ended.stdout.strip()

    def water(self) -> str:
        """A calculation of a second."""
        return self.submit("xtb", str(self._file("w.xyz", WATER)))

    def dynamics(self, steps: int = 500_000) -> str:
        """A calculation that lasts until it is stopped."""
        deck = self._file("md.inp", f"$md\n temp=298\n time={steps}\n step=1\n$end\n")
        molecule = str(self._file("w.xyz", WATER))
        return self.submit("xtb", molecule, "--with", str(deck), "--", "--md", "--input", "md.inp")

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def step(self, job: str, name: str | None = None) -> dict[str, Any]:
        steps = self.home.job(job)["steps"]
        found: dict[str, Any] = next(step for step in steps if name in (None, step["id"]))
        return found

    def attempts(self, job: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.home.json("why", job)["attempts"]
        return found

    def runs(self, job: str, deadline_s: float = 40.0) -> None:
        wait_for(lambda: self.step(job)["state"] == "running", deadline_s, "a running engine")

    def succeeds(self, job: str, deadline_s: float = 60.0) -> None:
        wait_for(lambda: self.home.job(job)["state"] == "succeeded", deadline_s, f"the end of {job}")

    def ends(self, pilot: str, *states: str, deadline_s: float = 40.0) -> None:
        wait_for(lambda: self.slurm.state(pilot) in states, deadline_s, f"{pilot} to be {states}")

    def log(self, pilot: str) -> str:
        path = self.folder / f"pilot-{pilot}.log"
        return path.read_text() if path.exists() else ""

    def events(self, pilot: str, name: str) -> list[dict[str, Any]]:
        lines = [line for line in self.log(pilot).splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def homes(self, node: str = "*") -> list[str]:
        return sorted(path.name for path in self.slurm.folder.glob(f"{node}/disk/qmrunner-*"))

    def processes(self) -> list[int]:
        """Daemons, guardians and engines of all pilots of this test."""
        mark = f"QMRUNNER_CONFIG={self.config}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    if mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                        found.append(int(name))
                    elif str(self.slurm.folder) in os.readlink(f"/proc/{name}/cwd") + "/":
                        found.append(int(name)) if "/disk/" in os.readlink(f"/proc/{name}/cwd") else None
                except OSError:
                    continue
        return found


@pytest.fixture
def site(_slurm: Cluster, postgres_database: str, tmp_path: Path) -> Iterator[Site]:
    found = Site(_slurm, postgres_database, tmp_path)
    yield found
    _slurm.run("scancel", "--me")
    _slurm.run("scancel", "--state=SUSPENDED", "--me")
    try:
        wait_for(lambda: not _slurm.run("squeue", "-h"), 60.0, "the end of all jobs")
        wait_for(lambda: not found.processes(), 30.0, "the end of all processes")
    finally:
        for pid in found.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for left in _slurm.folder.glob("n?/disk/qmrunner-*"):
            shutil.rmtree(left, ignore_errors=True)
