"""What an operator reads: `docker logs`, `docker exec … qmrunner …`, and the health of the container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.e2e.docker import Docker, Volumes, docker
from tests.support import wait_for

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


def test_the_container_log_has_every_event_and_every_line_of_the_engine(containers: Docker, volumes: Volumes) -> None:
    """(12) Events as JSON; the engine's lines behind JOB/STEP|; the file on the volume is what the engine wrote."""
    worker = containers.start(volumes)
    worker.put("/tmp/w.xyz", WATER)
    job = worker.submit("xtb", "/tmp/w.xyz", "--", "--opt")
    worker.succeeded(job)
    wait_for(lambda: worker.events("job_ended"), 10.0, "the last event in the log")
    log = docker("logs", worker.name).stdout.splitlines()
    on_volume = volumes.look(f"cat /logs/{job}/xtb.1.log").splitlines()
    prefix = f"{job}/xtb| "
    assert [line.removeprefix(prefix) for line in log if line.startswith(prefix)] == on_volume
    assert len(on_volume) > 100
    events = [json.loads(line) for line in volumes.look("cat /data/run/events.jsonl").splitlines()]
    assert [json.loads(line) for line in log if line.startswith("{")] == events
    assert {"daemon_started", "step_started", "step_ended", "job_ended"} <= {event["event"] for event in events}
    assert [line for line in log if not line.startswith(("{", prefix))] == []
    published = volumes.look(f"cat /data/jobs/{job}/xtb/output.log")
    assert published.splitlines() == on_volume


def test_a_stuck_reader_of_the_log_delays_no_engine(containers: Docker, volumes: Volumes) -> None:
    """(12) `docker attach` frozen and its pipe unread while jobs of more output than any buffer holds come and go."""
    worker = containers.start(volumes)
    worker.put("/tmp/w.xyz", WATER)
    out, into = os.pipe()
    reader = subprocess.Popen(["docker", "attach", "--no-stdin", "--sig-proxy=false", worker.name], stdout=into)
    os.close(into)
    try:
        worker.submit("xtb", "/tmp/w.xyz")
        assert os.read(out, 4096)
        os.kill(reader.pid, signal.SIGSTOP)
        stuck = time.monotonic()
        jobs = 0
        while time.monotonic() - stuck < 60.0:
            job = worker.submit("xtb", "/tmp/w.xyz", "--", "--opt", "--verbose")
            worker.succeeded(job, 30.0)
            jobs += 1
        assert jobs >= 2
        assert worker.run("health").returncode == 0
        assert volumes.look(f"grep -c 'normal termination of xtb' /logs/{job}/xtb.1.log").strip() == "1"
    finally:
        reader.kill()
        reader.wait(10)
        os.close(out)


def test_status_why_and_logs_work_from_outside_while_a_job_runs(containers: Docker, volumes: Volumes) -> None:
    """(13)"""
    worker = containers.start(volumes)
    job = worker.submit("nmr", "O")
    wait_for(lambda: worker.step(job, "optimise").get("state") == "running", 60.0, "a running optimisation")
    argv = ["docker", "exec", worker.name, "qmrunner", "logs", "-f", job, "--step", "optimise-c1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:
        assert job in worker.run("status").stdout
        assert "optimise-c1" in worker.run("why", job).stdout
        assert follower.stdout is not None
        assert any("Total times" in line for line in list(follower.stdout))  # until the step has ended
    assert follower.returncode == 0
    worker.succeeded(job)


@pytest.mark.timeout(420)
def test_a_frozen_consumer_turns_the_health_and_is_replaced(containers: Docker, volumes: Volumes) -> None:
    """(13) Unhealthy as the engine sees it; then the daemon ends what is frozen and goes on rather than pretend."""
    flags = ("--health-interval", "2s", "--health-retries", "1", "--health-start-period", "0s")
    worker = containers.start(volumes, *flags)
    wait_for(lambda: worker.inspect(".State.Health.Status") == "healthy", 60.0, "a healthy state")
    consumer = worker.json("status")["workers"][0]["consumer_pid"]
    worker.sh(f"kill -STOP {consumer}")
    wait_for(lambda: worker.inspect(".State.Health.Status") == "unhealthy", 60.0, "an unhealthy state")
    wait_for(lambda: worker.events("consumer_silent"), 180.0, "the end of the frozen consumer")
    wait_for(lambda: worker.inspect(".State.Health.Status") == "healthy", 60.0, "a healthy state again")
    assert worker.json("status")["workers"][0]["consumer_pid"] != consumer
    worker.put("/tmp/w.xyz", WATER)
    worker.succeeded(worker.submit("xtb", "/tmp/w.xyz"))


def test_a_daemon_that_lost_its_store_ends_and_says_so(containers: Docker, volumes: Volumes) -> None:
    """(13) Nothing to pretend with: the exit status tells the engine to start it again."""
    worker = containers.start(volumes)
    volumes.look("mv /data/store.db /data/store.lost")
    assert worker.ended(60.0) == 1
    assert "consumer_died" in {event["event"] for event in worker.events()}
