"""deploy/compose.scale.yaml: three workers on PostgreSQL and Redis, fed by the API, while one is lost for good."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.docker import FINAL, Docker, composed, docker
from tests.e2e.test_interruptions import undisturbed
from tests.support import wait_for

PORT = 18642
SECRETS = {"postgres_password": "p@ss/w:rd%41", "redis_password": "another-one"}
Compose = Callable[..., str]


@pytest.fixture
def compose(engine: Docker, tmp_path: Path) -> Iterator[Compose]:
    """`compose ARGS` of a separate project; taken down at the end, volumes and all."""
    for name, text in SECRETS.items():
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o644)
    environment = {
        "POSTGRES_IMAGE": "qmrunner-postgres",
        "REDIS_IMAGE": "qmrunner-redis",
        "SECRETS": str(tmp_path),
        "API_PORT": str(PORT),
        "CPUS": "1",
        "MEMORY": "3g",
        "SHM_SIZE": "512m",
    }
    with composed(f"{engine.session}-scale", "compose.scale.yaml", environment, 240) as run:
        yield run


def ask(path: str, token: str = "", body: object = None) -> Any:
    """The JSON that the API answers; asked again after `Retry-After`, when that was too often."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    while True:
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            if refused.code != 429:
                raise
            time.sleep(float(refused.headers["Retry-After"]))


def containers_of(compose: Compose, service: str) -> list[str]:
    return compose("ps", "-q", service).split()


def computing(compose: Compose) -> list[str]:
    """The workers in which NWChem runs."""
    look = "cat /proc/[0-9]*/comm 2>/dev/null | grep -q nwchem"
    found = containers_of(compose, "worker")
    return [one for one in found if docker("exec", one, "sh", "-c", look, check=False).returncode == 0]


@pytest.mark.timeout(600)
def test_three_workers_finish_the_jobs_of_the_api_though_one_is_lost_and_the_store_restarts(compose: Compose) -> None:
    compose("up", "-d", "--no-build", "--scale", "worker=3")
    (api,), (postgres,) = containers_of(compose, "api"), containers_of(compose, "postgres")
    token = docker("exec", api, "cat", "/data/admin.token").stdout.strip()
    wait_for(lambda: docker("exec", api, "qmrunner", "status").returncode == 0, 60.0, "the store")

    def active() -> bool:
        try:
            return len([one for one in ask("/v1/workers", token)["workers"] if one["state"] == "active"]) == 3
        except OSError:
            return False

    wait_for(active, 90.0, "three workers")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask("/v1/jobs")
    order = {"kind": "nmr", "smiles": "CO", "fresh": True}
    jobs = [ask("/v1/jobs", token, order)["id"] for _ in range(3)]
    lost = wait_for(lambda: len(computing(compose)) >= 2 and computing(compose), 120.0, "two workers that compute")
    assert lost
    docker("rm", "-f", "-v", lost[0])
    docker("restart", postgres)
    for job in jobs:
        end = wait_for(lambda job=job: (now := state(job, token)) in FINAL and now, 400.0, f"the end of {job}")
        assert end == "succeeded", ask(f"/v1/jobs/{job}/why", token)
        result = ask(f"/v1/jobs/{job}/result", token)
        assert result["energy_hartree"] == pytest.approx(undisturbed(result), abs=1e-6)
        assert len(result["shifts"]) == 5
    attempts = [one for job in jobs for one in ask(f"/v1/jobs/{job}/why", token)["attempts"]]
    assert "machine_lost" in {one["code"] for one in attempts}, attempts
    secrets_are_kept(compose, api)


def state(job: str, token: str) -> str | None:
    try:
        found = ask(f"/v1/jobs/{job}", token)
    except OSError:  # the store restarts
        return None
    return str(found.get("job", found)["state"])


def secrets_are_kept(compose: Compose, api: str) -> None:
    """In no variable, command line or log of any container."""
    everything = compose("logs", "--no-color")
    for container in [api, *containers_of(compose, "worker"), *containers_of(compose, "redis")]:
        everything += docker("inspect", container).stdout
        everything += docker("exec", container, "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ").stdout
    assert [secret for secret in SECRETS.values() if secret in everything] == []
