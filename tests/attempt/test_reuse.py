"""A step computed before is not computed again, unless anything that decides its result differs or was damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner import engines
from tests.support import Daemon, Home, wait_for

WATER = "3\nwater\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n"
MISSING = engines.get("xtb").locate({}, shutil.which).path is None
pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


@pytest.fixture
def place(home: Home) -> Home:
    """A home that reuses, beside a molecule; its xTB is the real one."""
    if MISSING and os.environ.get("CI") == "true":
        pytest.fail("xtb is not installed; `make setup` installs it as root")
    if MISSING:
        pytest.skip("xtb is not installed")
    home.extra["QMRUNNER_REUSE"] = "on"
    (home.path.parent / "water.xyz").write_text(WATER)
    return home


def submitted(home: Home, *args: str) -> dict[str, Any]:
    """The job that `qmrunner submit ARGS` stored, at its end; its attempts with it."""
    # --json before the program's own flags
    job = json.loads(home.run("submit", args[0], "--json", *args[1:]).stdout)["id"]
    wait_for(lambda: home.job(job)["finished_at"], 60.0, "the job's end")
    seen = home.job(job)
    assert seen["state"] == "succeeded", seen
    return {**seen, "attempts": home.json("why", job)["attempts"]}


def sources(job: dict[str, Any]) -> dict[str, str | None]:
    """Step → where its result was taken from, None where it was computed."""
    return {one["step"]: one["usage"].get("reused_from") for one in job["attempts"]}


def test_an_identical_run_is_taken_over_with_all_its_files(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    first = submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")
    second = submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")
    assert sources(first) == {"xtb": None}
    assert sources(second) == {"xtb": f"{first['id']}/xtb"}
    results = [place.json("result", job["id"]) for job in (first, second)]
    assert results[0]["energy_hartree"] == results[1]["energy_hartree"]
    assert results[0]["files"] == results[1]["files"]
    assert f"taken from {first['id']}/xtb" in results[1]["provenance"]["steps"]["xtb"]["summary"]
    jobs = place.settings.jobs_root
    for name in ("xtbopt.xyz", "output.log", "result.json"):
        assert (jobs / first["id"] / "xtb" / name).read_bytes() == (jobs / second["id"] / "xtb" / name).read_bytes()
    # A result that was taken over serves the next one as well.
    shutil.rmtree(jobs / first["id"])
    assert sources(submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")) == {"xtb": f"{second['id']}/xtb"}


@pytest.mark.slow
def test_another_option_or_structure_or_a_fresh_run_is_computed(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")
    assert sources(submitted(place, "xtb", "water.xyz", "--", "--opt", "loose")) == {"xtb": None}
    (place.path.parent / "water.xyz").write_text(WATER.replace("0.76 ", "0.77 "))
    assert sources(submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")) == {"xtb": None}
    (place.path.parent / "water.xyz").write_text(WATER)
    assert sources(submitted(place, "xtb", "water.xyz", "--fresh", "--", "--opt", "tight")) == {"xtb": None}


def test_a_published_file_that_was_changed_or_removed_is_not_taken(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    first = submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")
    geometry = place.settings.jobs_root / first["id"] / "xtb" / "xtbopt.xyz"
    geometry.write_text(geometry.read_text().replace("O ", "S "))
    second = submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")
    assert sources(second) == {"xtb": None}
    (place.settings.jobs_root / second["id"] / "xtb" / "xtbopt.xyz").unlink()
    assert sources(submitted(place, "xtb", "water.xyz", "--", "--opt", "tight")) == {"xtb": None}


@pytest.mark.slow
def test_of_an_ensemble_submitted_again_no_step_is_computed(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    first = submitted(place, "conformers", "CCO", "--conformers", "rdkit")
    second = submitted(place, "conformers", "CCO", "--conformers", "rdkit")
    assert set(sources(first).values()) == {None}
    assert sources(second) == {name: f"{first['id']}/{name}" for name in sources(first)}
    folders = [place.settings.jobs_root / job["id"] for job in (first, second)]
    assert (folders[0] / "ensemble.xyz").read_bytes() == (folders[1] / "ensemble.xyz").read_bytes()
    assert Path(folders[1], "geometry.xyz").is_file()
