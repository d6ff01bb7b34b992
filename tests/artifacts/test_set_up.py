"""A wrong setting is refused with its remedy before anything is changed, and doctor tries the place out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.artifacts.conftest import STAND_IN, WATER, Machines, Place
from tests.artifacts.s3 import Wire
from tests.support import ROOT, Daemon, Home, wait_for


@pytest.fixture
def structure(tmp_path: Path) -> str:
    path = tmp_path / "water.xyz"
    path.write_text(WATER)
    return str(path)


def use(home: Home, place: Place) -> Home:
    home.extra |= {"QMRUNNER_ARTIFACTS": place.url, "QMRUNNER_XTB": str(STAND_IN), **place.variables}
    return home


def finding(home: Home) -> dict[str, Any]:
    told = json.loads(home.run("doctor", "--json", timeout_s=90.0).stdout)
    return next(one for one in told["checks"] if one["name"] == "artifacts")


@pytest.mark.parametrize("command", [("status",), ("run",), ("submit", "xtb", "STRUCTURE")])
def test_a_wrong_url_ends_every_command_with_the_remedy(home: Home, structure: str, command: tuple[str, ...]) -> None:
    args = [structure if word == "STRUCTURE" else word for word in command]
    refused = home.run(*args, QMRUNNER_ARTIFACTS="s3:/results")
    assert refused.returncode == 2
    assert "file:///absolute/folder or s3://bucket/prefix" in refused.stderr
    assert not home.path.exists()


@pytest.mark.parametrize("command", [("run",), ("submit", "xtb", "STRUCTURE")])
def test_a_missing_optional_part_is_reported_with_the_command_that_installs_it(
    home: Home, structure: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['s3fs'] = None\n")
    refused = subprocess.run(
        [sys.executable, "-m", "qmrunner", *(structure if word == "STRUCTURE" else word for word in command)],
        env=home.environment(
            PYTHONPATH=f"{tmp_path}:{ROOT}", QMRUNNER_ARTIFACTS="s3://results/qm", QMRUNNER_XTB=str(STAND_IN)
        ),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2, refused
    assert "artifacts_driver_missing" in refused.stderr
    assert "pip install 'qmrunner[s3]'" in refused.stderr
    assert not home.path.exists()


def test_doctor_writes_and_reads_in_it(home: Home, place: Place, structure: str) -> None:
    use(home, place)
    assert finding(home)["result"] == "ok"
    assert place.blobs().identity() is None  # looking changes nothing
    home.json("submit", "xtb", structure)
    found = finding(home)
    assert found["result"] == "ok"
    assert "written, read and removed" in found["text"]
    assert len(list(place.blobs().every())) == 1


def test_doctor_reports_what_is_out_of_reach(home: Home, bucket: Place, wire: Wire, structure: str) -> None:
    use(home, bucket).json("submit", "xtb", structure)
    wire.cut()
    found = finding(home)
    assert (found["result"], found["code"]) == ("fail", "artifacts_unavailable")
    assert found["remedy"]


def test_doctor_reports_the_place_of_another_store(home: Home, folder: Place, structure: str, tmp_path: Path) -> None:
    use(home, folder).json("submit", "xtb", structure)
    other = use(Home(tmp_path / "other"), folder)
    refused = other.run("submit", "xtb", structure)
    assert refused.returncode == 4
    assert "artifacts_foreign" in refused.stderr
    assert finding(other)["code"] == "artifacts_foreign"


def test_a_machine_on_which_it_is_not_set_is_refused(
    home: Home, folder: Place, structure: str, daemon: Callable[..., Daemon]
) -> None:
    use(home, folder).json("submit", "xtb", structure)
    for args in (("submit", "xtb", structure), ("run",)):
        refused = home.run(*args, QMRUNNER_ARTIFACTS="")
        assert refused.returncode == 4
        assert "artifacts_not_set" in refused.stderr


def test_a_folder_that_is_not_there_is_not_made(home: Home, structure: str, tmp_path: Path) -> None:
    use(home, Place((tmp_path / "unmounted").as_uri(), {}))
    refused = home.run("submit", "xtb", structure)
    assert refused.returncode == 4
    assert "artifacts_unavailable" in refused.stderr
    assert not (tmp_path / "unmounted").exists()


def test_a_worker_that_started_before_the_store_had_an_artifact_store_takes_no_job_of_it(
    machines: Machines, daemon: Callable[..., Daemon]
) -> None:
    """Its files are not on that machine: the job would fail for a missing input, although other workers have it."""
    here, old, new = (machines.stand_in(name) for name in ("here", "old", "new"))
    del old.extra["QMRUNNER_ARTIFACTS"]
    started = daemon(on=old)
    wait_for(lambda: started.events("consumer_started"), 60.0, "the worker")
    job = str(here.json("submit", "xtb", machines.structure())["id"])
    wait_for(
        lambda: "QMRUNNER_ARTIFACTS" in (here.json("why", job)["waits_for"] or ""), 60.0, "why to name the setting"
    )
    assert here.job(job)["steps"][0]["attempt"] == 0
    daemon(on=new)
    wait_for(lambda: here.job(job)["state"] == "succeeded", 60.0, "the job on a worker with the artifact store")
