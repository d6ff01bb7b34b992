"""A job submitted on one machine, computed on another, read on the first or on a third."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.api.lab import served
from tests.artifacts.conftest import Machines
from tests.support import Daemon, wait_for

FINAL = ("succeeded", "failed", "cancelled", "held")


def test_a_job_submitted_here_is_computed_there_and_read_here(
    machines: Machines, daemon: Callable[..., Daemon]
) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    job = str(here.json("submit", "xtb", machines.structure())["id"])
    daemon(on=there)
    wait_for(lambda: here.job(job)["state"] in FINAL, 60.0, "the job's end")
    assert here.job(job)["state"] == "succeeded", here.json("why", job)
    seen = here.json("result", job)
    folder = Path(seen["folder"])
    assert folder.is_relative_to(here.path)
    assert {"result.json", "xtb/energy", "xtb/output.log"} <= set(seen["files"])
    out = here.path.parent / "out"
    assert here.run("result", job, "--out", str(out)).returncode == 0
    published = Path(there.settings.jobs_root, job, "xtb", "energy").read_text()
    assert (out / "xtb" / "energy").read_text() == published == f"{job}/xtb/1\n"
    shutil.rmtree(there.path / "logs")  # both see the same disk here
    logged = here.run("logs", job)
    assert "normal termination of xtb" in logged.stdout


def test_the_api_apart_from_the_workers_has_their_files_and_logs(
    machines: Machines, daemon: Callable[..., Daemon]
) -> None:
    here, there = machines.stand_in("here"), machines.stand_in("there")
    with served(here) as server:
        job = server.submit()
        daemon(on=there)
        wait_for(lambda: here.job(job)["state"] in FINAL, 60.0, "the job's end")
        shutil.rmtree(there.path / "logs")
        listed = server.client.get(f"/v1/jobs/{job}/files").json()["files"]
        assert {"result.json", "xtb/energy", "xtb/output.log"} <= {file["name"] for file in listed}
        energy = server.client.get(f"/v1/jobs/{job}/files/xtb/energy")
        assert energy.text == f"{job}/xtb/1\n"
        assert server.client.get(f"/v1/jobs/{job}/files/result.json").json()["id"] == job
        logged = server.client.get(f"/v1/jobs/{job}/steps/xtb/log")
        assert "normal termination of xtb" in logged.text
