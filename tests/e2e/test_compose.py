"""deploy/compose.yaml as an operator uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.docker import Container, Docker, composed

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
Compose = Callable[..., str]


@pytest.fixture
def compose(engine: Docker) -> Iterator[Compose]:
    """`compose ARGS` of a separate project with the image under test; taken down at the end, volumes and all."""
    with composed(engine.session, "compose.yaml", {"MEMORY": "4g", "SHM_SIZE": "1g"}, 120) as run:
        yield run


def test_the_volumes_survive_down_and_up(compose: Compose) -> None:
    """(14) All jobs and results are there, and the next container runs the waiting steps."""
    compose("up", "-d", "--no-build")
    worker = Container(compose("ps", "-q").strip()).healthy()
    worker.put("/tmp/w.xyz", WATER)
    job = worker.submit("xtb", "/tmp/w.xyz")
    energy = worker.succeeded(job)["energy_hartree"]
    assert worker.run("pause").returncode == 0
    waiting = worker.submit("xtb", "/tmp/w.xyz", "--fresh")
    compose("down")
    compose("up", "-d", "--no-build")
    successor = Container(compose("ps", "-q").strip()).healthy()
    assert successor.json("result", job)["energy_hartree"] == energy
    assert successor.job(waiting)["state"] == "queued"
    assert successor.run("resume").returncode == 0
    assert successor.succeeded(waiting)["energy_hartree"] == energy


def test_a_worker_of_compose_has_limits_and_no_rights(compose: Compose) -> None:
    """What the file promises is what the container has."""
    compose("up", "-d", "--no-build")
    worker = Container(compose("ps", "-q").strip()).healthy()
    assert worker.inspect(".HostConfig.ReadonlyRootfs") == "true"
    assert worker.inspect("json .HostConfig.CapDrop") == '["ALL"]'
    assert worker.inspect(".HostConfig.ShmSize") == str(1 << 30)
    assert worker.inspect(".HostConfig.Memory") == str(4 << 30)
    assert worker.inspect(".HostConfig.RestartPolicy.Name") == "unless-stopped"
    assert worker.sh("grep NoNewPrivs /proc/1/status").stdout.split() == ["NoNewPrivs:", "1"]
    assert worker.sh("grep CapEff /proc/1/status").stdout.split() == ["CapEff:", "0" * 16]
    doctor = worker.run("doctor")
    assert doctor.returncode == 0, doctor
    print(doctor.stdout)
