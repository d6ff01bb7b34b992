"""Jobs of other shapes than the documented one: each pilot runs the work, ends well and leaves its node clean."""

from __future__ import annotations

import pytest

from tests.slurm.conftest import SCRIPT, Site
from tests.support import wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.engine, pytest.mark.timeout(300)]
SIZE = ("--mem=1500", "--time=5")


def start(site: Site, *options: str, **more: str) -> str:
    return site.slurm.run(
        "sbatch", "--parsable", f"--output={site.folder}/pilot-%j.log", *options, **{**site.variables, **more}
    ).partition(";")[0]


def test_a_preempted_pilot_comes_back_and_a_cancelled_one_does_not(site: Site) -> None:
    """With a GraceTime Slurm sends TERM to the steps of a job that it still runs: one that ends then is completed."""
    job = site.dynamics()
    pilot = start(site, *SIZE, "-c1", "--partition=low", "-w", "n1", f"--wrap=srun bash {SCRIPT}")
    site.runs(job, 60.0)
    urgent = site.slurm.run(
        "sbatch", "--parsable", "--partition=high", "-w", "n1", "--cpus-per-task=2", "--mem=100", "--output=/dev/null",
        "--wrap=sleep 600",
    )  # fmt: skip
    wait_for(lambda: site.slurm.state(urgent) == "RUNNING", 60.0, "the urgent job")
    assert "steps are left; requeueing" in site.log(pilot)
    wait_for(lambda: site.slurm.state(pilot) == "PENDING", 30.0, "the pilot to wait")
    assert [attempt["state"] for attempt in site.attempts(job)] == ["stopped"]
    assert site.homes() == []
    site.slurm.run("scancel", urgent)
    site.slurm.run("scontrol", "update", f"JobId={pilot}", "StartTime=now")
    wait_for(lambda: site.step(job)["attempt"] == 2, 60.0, "the second attempt")
    site.runs(job)
    site.slurm.run("scancel", pilot)
    site.ends(pilot, "CANCELLED")
    assert [attempt["state"] for attempt in site.attempts(job)] == ["stopped", "stopped"]


def test_jobs_of_every_shape_run_a_pilot(site: Site) -> None:
    """Heterogeneous, the whole node, tasks of `srun` on two nodes, a range of times, without HOME, in `/`, names and
    folders with spaces, settings written on Windows. One after the other: each has to do a separate job."""
    spaces = site.folder / "a place, with spaces"
    spaces.mkdir()
    config = spaces / "my settings.env"
    config.write_bytes(b"\xef\xbb\xbf" + site.config.read_bytes().replace(b"\n", b"\r\n") + b'QMRUNNER_LOGS=""\r\n')
    script = str(SCRIPT)
    shapes: dict[str, tuple[list[str], dict[str, str]]] = {
        "het": ([*SIZE, "-c1", ":", "--mem=500", "-c1", script], {}),
        "exclusive": (["--exclusive", "-c1", "--mem=0", "--time-min=1", "--time=5", script], {}),
        "srun": ([*SIZE, "--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=1", f"--wrap=srun bash {script}"], {}),
        "poor": ([*SIZE, "-c1", "--chdir=/", f"--wrap=exec env -u HOME -u USER -u LOGNAME bash {script}"], {}),
        "spaces": (
            [*SIZE, "-c1", "--job-name=a b,c", script],
            {"SLURM_TMPDIR": str(spaces), "PILOT_SHARED": str(spaces / "shared"), "QMRUNNER_CONFIG": str(config)},
        ),
    }
    for name, (options, more) in shapes.items():
        job = site.water()
        pilot = start(site, *options, **more)
        site.succeeds(job)
        site.ends(pilot, "COMPLETED", deadline_s=60.0)
        assert site.homes() == [], name
        assert not list(spaces.glob("qmrunner-*")), name
        if name == "srun":
            workers = {event["worker"] for event in site.events(pilot, "daemon_started")}
            assert workers == {f"qmrunner-{pilot}-0", f"qmrunner-{pilot}-0-node1"}
            assert site.log(pilot).count("in another task of job") == 2
    wait_for(lambda: not site.processes(), 20.0, "the end of all processes")


def test_an_array_one_at_a_time_and_a_login_node_without_engines(site: Site) -> None:
    """`--array=1-2%1`, with a strict umask, an unknown time zone and a prefix of the shell that prints to stdout."""
    nothing = site.folder / "no programs"
    nothing.mkdir()
    site.home.extra |= {"PATH": str(nothing), "TZ": ":Nowhere/Odd"}
    job = site.water()
    odd = f"--wrap=umask 077; export TZ=:Nowhere/Odd; echo a message of the day; exec bash {SCRIPT}"
    array = start(site, *SIZE, "-c1", "--array=1-2%1", odd)
    site.succeeds(job)
    for task in (1, 2):
        site.ends(f"{array}_{task}", "COMPLETED", deadline_s=90.0)
    assert site.homes() == []
