"""What an operator reads: `docker logs`, `docker exec … qmrunner …`, and the health of the container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.docker import Container, Docker, Volumes, docker
from tests.support import wait_for

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


@dataclass(frozen=True)
class Frozen:
    """Two workers that were stopped in part and are unhealthy: the one by its consumer (which pid), the other by its
    supervisor."""

    consumer: tuple[Container, int]
    supervisor: Container


@pytest.fixture(scope="module")
def frozen(engine: Docker) -> Iterator[Frozen]:
    """The daemon acts on them after 90 s, so they stay frozen while other tests run."""
    own = Docker()
    flags = ("--restart", "unless-stopped", "--health-interval", "2s", "--health-retries", "1")
    try:
        one, two = (own.start(own.volumes(), *flags, "--health-start-period", "0s") for _ in range(2))
        wait_for(lambda: [health(one), health(two)] == ["healthy"] * 2, 60.0, "two healthy workers")
        pid = one.json("status")["workers"][0]["consumer_pid"]
        one.sh(f"kill -STOP {pid}")
        two.sh("kill -STOP $(cat /proc/1/task/1/children)")  # of tini
        wait_for(lambda: [health(one), health(two)] == ["unhealthy"] * 2, 90.0, "two unhealthy workers")
        yield Frozen((one, pid), two)
    finally:
        own.remove_all()


def health(worker: Container) -> str:
    """As the container engine sees it."""
    return worker.inspect(".State.Health.Status")


def computes(worker: Container) -> None:
    worker.put("/tmp/w.xyz", WATER)
    worker.succeeded(worker.submit("xtb", "/tmp/w.xyz"))


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


@pytest.mark.usefixtures("frozen")  # whose 90 s pass meanwhile
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


def test_a_frozen_consumer_turned_the_health_and_is_replaced(frozen: Frozen) -> None:
    """(13) The daemon ends frozen processes and keeps running."""
    worker, consumer = frozen.consumer
    wait_for(lambda: worker.events("consumer_silent"), 180.0, "the end of the frozen consumer")
    wait_for(lambda: health(worker) == "healthy", 60.0, "a healthy state again")
    assert worker.json("status")["workers"][0]["consumer_pid"] != consumer
    assert worker.inspect(".RestartCount") == "0"
    computes(worker)


def test_a_frozen_supervisor_is_ended_and_the_engine_starts_the_daemon_again(frozen: Frozen) -> None:
    """(13) Docker restarts nothing that is merely unhealthy: the consumer sees to it that the container ends."""
    worker = frozen.supervisor
    wait_for(lambda: worker.inspect(".RestartCount") == "1", 180.0, "a new start of the container")
    wait_for(lambda: health(worker) == "healthy", 60.0, "a healthy state again")
    assert worker.events("supervisor_silent")
    computes(worker)


def test_a_daemon_that_lost_its_store_ends_and_reports_it(containers: Docker, volumes: Volumes) -> None:
    """(13) Nothing to pretend with: the exit status makes the engine start it again."""
    worker = containers.start(volumes)
    volumes.look("mv /data/store.db /data/store.lost")
    assert worker.ended(60.0) == 1
    assert "consumer_died" in {event["event"] for event in worker.events()}
