"""deploy/slurm/qmrunner-pilot.sbatch as it is shipped, under a real Slurm of two nodes: nothing lost or left."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.slurm.cluster import KILL_WAIT_S
from tests.slurm.conftest import Site
from tests.support import ROOT, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.engine, pytest.mark.timeout(300)]


def states(site: Site, job: str) -> list[str]:
    return [attempt["state"] for attempt in site.attempts(job)]


def test_an_array_of_four_runs_everything_and_leaves_the_nodes_clean(site: Site) -> None:
    jobs = [site.water() for _ in range(6)]
    array = site.pilot("--array=1-4")
    for job in jobs:
        site.succeeds(job)
    for task in range(1, 5):
        site.ends(f"{array}_{task}", "COMPLETED")
    assert site.homes() == []
    assert {state for job in jobs for state in states(site, job)} == {"succeeded"}


def test_scancel_stops_the_engine_and_spends_no_retry(site: Site) -> None:
    job = site.dynamics()
    pilot = site.pilot()
    site.runs(job)
    site.slurm.run("scancel", pilot)
    site.ends(pilot, "CANCELLED")
    wait_for(lambda: not site.processes(), KILL_WAIT_S, "the end of all processes")
    assert site.step(job)["state"] == "ready"
    assert states(site, job) == ["stopped"]
    assert site.homes() == []


def test_a_pilot_whose_time_is_over_is_followed_and_one_without_limit_does_not_stop(site: Site) -> None:
    """Both times as Slurm has them: `1:00` and `UNLIMITED`. A job that may not be requeued is followed by another."""
    jobs = [site.dynamics(), site.dynamics(), site.dynamics()]
    short, endless = site.pilot("--time=1", "-w", "n1"), site.pilot("--time=UNLIMITED", "-w", "n2")
    last = site.pilot("--time=1", "-w", "n2", "--no-requeue")
    for job in jobs:
        site.runs(job)
    wait_for(lambda: site.slurm.job(short)["Restarts"] == "1", 90.0, "the requeue of the pilot")
    (stop,) = site.events(short, "stop_requested")
    assert stop["reason"] == "wall time"
    assert stop["grace_s"] == KILL_WAIT_S - 5
    assert "steps are left; requeueing" in site.log(short)
    assert site.slurm.state(endless) == "RUNNING"
    wait_for(
        lambda: re.search("pilots: [123] started as job", site.log(last)), 60.0, "the successor of the third pilot"
    )
    assert {state for job in jobs for state in states(site, job)} == {"running", "stopped"}
    wait_for(lambda: site.slurm.state(short) == "RUNNING", 60.0, "the next run of the pilot")
    wait_for(lambda: len(site.events(short, "daemon_started")) == 2, 40.0, "two daemons in one log")
    assert {event["worker"] for event in site.events(short, "daemon_started")} == {
        f"qmrunner-{short}-0", f"qmrunner-{short}-1",
    }  # fmt: skip


def test_an_optimisation_resumes_from_its_checkpoint_on_another_node_after_a_requeue(site: Site) -> None:
    job = site.submit("nmr", "CCO", "--conformers", "rdkit", "--max-conformers", "1")
    pilot = site.pilot("-w", "n1", "--time=10")
    wait_for(lambda: site.events(pilot, "checkpoint_sent"), 120.0, "a checkpoint on the shared filesystem")
    sent = site.events(pilot, "checkpoint_sent")[0]["step"]
    site.slurm.run("scontrol", "requeue", pilot)
    wait_for(lambda: site.slurm.job(pilot)["Restarts"] == "1", 20.0, "the requeue")
    site.slurm.run("scontrol", "update", f"JobId={pilot}", "NodeList=n2", "StartTime=now")
    wait_for(lambda: site.step(job, sent)["attempt"] == 2, 60.0, "the second attempt")
    wait_for(lambda: site.step(job, sent)["state"] in ("running", "succeeded"), 30.0, "its start")
    first, second = (attempt for attempt in site.attempts(job) if attempt["step"] == sent)
    assert first["state"] == "stopped"
    assert any(note.startswith("resume: restart from") for note in second["notes"]), second


def test_memory_is_that_of_the_job_and_an_engine_that_takes_more_dies_alone(site: Site) -> None:
    """`--mem-per-cpu`: Slurm limits the group of the job, an ancestor of the one that the worker is in."""
    job = site.water()
    hungry = ROOT / "tests" / "slurm" / "hungry_xtb.sh"
    pilot = site.pilot("--mem-per-cpu=300", "--cpus-per-task=2", QMRUNNER_XTB=str(hungry), QMRUNNER_MAX_RETRIES="0")
    wait_for(lambda: site.home.job(job)["state"] == "failed", 60.0, "the end of the engine")
    assert site.events(pilot, "consumer_started")[0]["memory_mib"] == 540
    assert {attempt["code"] for attempt in site.attempts(job)} == {"oom_killed"}
    wait_for(lambda: site.events(pilot, "daemon_stopped"), 40.0, "the regular end of the daemon")


def test_a_living_daemon_keeps_its_home_when_its_job_is_started_again(site: Site) -> None:
    """slurmstepd is killed, slurmd restarted: Slurm requeues the job with the same id, and the old daemon works on."""
    job = site.dynamics()
    pilot = site.pilot("-w", "n1")
    site.runs(job)
    old = f"qmrunner-{pilot}-0"
    before = set(site.processes())
    for pid in site.slurm.steps():
        os.kill(pid, signal.SIGKILL)
    site.slurm.kill_node_daemon("n1")
    assert old in site.homes("n1")
    assert before & set(site.processes())
    site.slurm.start_node("n1")
    wait_for(lambda: site.slurm.job(pilot)["Restarts"] == "1", 100.0, "the requeue")
    assert old in site.homes("n1")
    # Slurm starts it when the credential of the first run has expired (`cred_expire` of the tests' cluster). An earlier
    # start fails: the node still refuses credentials of this job that are from the second of its end.
    wait_for(lambda: site.step(job)["attempt"] == 2 and site.step(job)["state"] == "running", 90.0, "the second run")
    assert "ending process" in site.log(pilot)
    assert states(site, job) == ["stopped", "running"]
    wait_for(lambda: site.homes("n1") == [f"qmrunner-{pilot}-1"], 20.0, "the end of the old home")


def test_a_suspended_pilot_spends_no_retry(site: Site) -> None:
    job = site.dynamics()
    pilot = site.pilot("-w", "n1")
    site.runs(job)
    other = site.pilot("-w", "n2")
    wait_for(lambda: site.events(other, "consumer_started"), 40.0, "the other worker")
    site.slurm.run("scontrol", "suspend", pilot)
    wait_for(lambda: site.step(job)["attempt"] == 2, 60.0, "a second attempt on the other node")
    site.slurm.run("scontrol", "resume", pilot)
    wait_for(lambda: site.events(pilot, "worker_fenced"), 40.0, "the suspended worker to see that it was replaced")
    site.runs(job)
    assert states(site, job)[0] in ("lost", "stopped")
    assert "failed" not in states(site, job)


def test_a_lost_node_loses_nothing_and_is_swept_when_it_is_back(site: Site) -> None:
    job = site.dynamics()
    pilot = site.pilot("-w", "n1", "--no-requeue")
    site.runs(job)
    site.slurm.kill_node_daemon("n1")
    for pid in (*site.slurm.steps(), *site.processes()):
        os.kill(pid, signal.SIGKILL)
    left = site.homes("n1")
    assert left == [f"qmrunner-{pilot}-0"]
    other = site.pilot("-w", "n2")
    wait_for(lambda: site.step(job)["attempt"] == 2 and site.step(job)["state"] == "running", 60.0, "the other node")
    site.ends(pilot, "NODE_FAIL", "FAILED", deadline_s=60)
    site.slurm.run("scancel", other)
    site.slurm.start_node("n1")
    site.home.run("cancel", job)
    water = site.water()
    wait_for(lambda: "idle" in site.slurm.run("sinfo", "-h", "-n", "n1", "-o", "%T"), 40.0, "the node to be back")
    site.pilot("-w", "n1")
    site.succeeds(water)
    wait_for(lambda: site.homes("n1") == [], 20.0, "clean disks")
