"""`qmrunner slurm` on the login node of a real Slurm: a job and its pilots with one command, and no job is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.slurm.conftest import WATER, Site
from tests.support import Home, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.engine, pytest.mark.timeout(300)]
SMALL = "--cpus-per-task=1 --mem=3000 --time=10"


class Login:
    """A login node that has only what the first command of a new user made."""

    def __init__(self, site: Site, url: str) -> None:
        self.site = site
        self.folder = site.folder / "new"
        (self.folder / "cwd").mkdir(parents=True)
        self.slurm = {
            name: value for name, value in site.slurm.environment().items() if os.environ.get(name) != value
        } | {"PILOT_PROGRAM": site.variables["PILOT_PROGRAM"]}
        self.home = Home(self.folder / "cwd" / "home")
        self.url = url
        self.config = self.folder / "shared" / "qmrunner.env"

    def run(self, *args: str, status: int = 0, **more: str) -> tuple[str, str]:
        ended = self.home.run("slurm", *args, timeout_s=90.0, **self.slurm, **more)
        assert ended.returncode == status, ended
        return ended.stdout.strip(), ended.stderr

    def set_up(self) -> None:
        gone = self.url.replace("@", "nobody@") if "@" in self.url else self.url + "-gone"
        self.run("setup", str(self.folder / "shared"), "--store", gone, status=4)
        assert not self.config.exists()
        printed, _ = self.run("setup", str(self.folder / "shared"), "--store", self.url)
        assert printed == f"export QMRUNNER_CONFIG={self.config}"
        with self.config.open("a") as file:
            file.write(f"QMRUNNER_SBATCH_OPTIONS={SMALL}\nQMRUNNER_REUSE=off\n")
        self.site.home.extra = self.home.extra = {"QMRUNNER_CONFIG": str(self.config)}

    def water(self) -> str:
        path = self.folder / "w.xyz"
        path.write_text(WATER)
        return str(path)

    def queue(self) -> list[str]:
        """State of each pilot of this user, with its dependency."""
        return sorted(self.site.slurm.run("squeue", "-h", "-r", "-o", "%T %E").splitlines())


@pytest.fixture
def login(site: Site, postgres_database: str) -> Login:
    made = Login(site, postgres_database.replace("postgresql+psycopg", "postgresql"))
    made.set_up()
    return made


def test_one_command_submits_starts_pilots_and_the_chain_ends_when_no_work_is_left(login: Login) -> None:
    first, printed = login.run("submit", "xtb", login.water())
    assert "pilots: 1 started as job" in printed
    assert "squeue --name=qmrunner-" in printed
    login.site.succeeds(first)
    # Else the next job gets a successor of this pilot, which may still take the job itself.
    wait_for(lambda: login.queue() == [], 60.0, "the end of the first pilot")
    deck = login.folder / "md.inp"
    deck.write_text("$md\n temp=298\n time=500000\n step=1\n$end\n")
    long, _ = login.run(
        "submit", "--pilots", "1", "xtb", login.water(), "--with", str(deck), "--", "--md", "--input", "md.inp"
    )
    login.site.runs(long)
    second, printed = login.run("submit", "--pilots", "1", "xtb", login.water())
    assert "follows when they have ended" in printed
    assert [line.partition("(")[0] for line in login.queue()] == ["PENDING singleton", "RUNNING "]
    third, printed = login.run("submit", "--pilots", "1", "xtb", login.water())
    assert "no new one is needed" in printed
    login.home.run("cancel", long)
    for job in (second, third):
        login.site.succeeds(job)
    wait_for(lambda: not login.queue(), 60.0, "the end of the chain")
    assert {path.parent for path in login.folder.rglob("qmrunner-*.log")} == {login.folder / "shared" / "pilots"}
    printed = login.run("start")[1]
    assert "no unfinished job needs a pilot" in printed


def test_a_job_is_stored_and_waits_when_slurm_takes_no_pilot(login: Login) -> None:
    job, printed = login.run("submit", "--sbatch", "--partition=nowhere", "xtb", login.water(), status=4)
    assert "pilot_not_started" in printed
    assert "qmrunner slurm start" in printed
    assert login.site.home.job(job)["state"] == "queued"
    assert login.queue() == []
    _, printed = login.run("start")
    assert "pilots: 1 started" in printed
    login.site.succeeds(job)


def test_many_molecules_get_an_array_and_pilots_read_the_settings_whatever_is_exported(login: Login) -> None:
    """`SBATCH_EXPORT=NONE` and variables of another job, as users and interactive jobs have them."""
    (login.folder / "two.smi").write_text("O water\nC methane\n")
    ids, printed = login.run(
        "submit", "--pilots", "2", "many", str(login.folder / "two.smi"), "--kind", "conformers", "--conformers",
        "rdkit", SBATCH_EXPORT="NONE", SLURM_MEM_PER_CPU="1", SLURM_JOB_ID="1", SLURM_ARRAY_TASK_ID="5",
    )  # fmt: skip
    assert "pilots: 2 started" in printed
    for line in ids.splitlines():
        login.site.succeeds(line.split()[0], 120.0)


def test_a_job_that_was_submitted_before_the_settings_were_shared_runs_all_the_same(
    site: Site, postgres_database: str
) -> None:
    """A plain `submit` without artifact store: its files are in a folder that pilots do not use."""
    login = Login(site, postgres_database.replace("postgresql+psycopg", "postgresql"))
    plain = login.home.run("submit", "xtb", login.water(), QMRUNNER_STORE_URL=login.url)
    assert plain.returncode == 0, plain
    login.set_up()
    login.run("start")
    site.succeeds(plain.stdout.strip())
    assert Path(login.home.path / "jobs").is_dir()
