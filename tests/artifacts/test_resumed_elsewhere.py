"""A machine is lost for good in the middle of a calculation; another one goes on from the checkpoint that was sent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from qmrunner import engines
from qmrunner.app import App
from qmrunner.store import artifacts as rows
from tests.artifacts.conftest import Machines
from tests.support import Daemon, Home, missing, wait_for

FINAL = ("succeeded", "failed", "cancelled", "held")
ENERGY_HARTREE, SHIELDING_PPM = 1e-6, 0.01


@pytest.fixture(autouse=True)
def installed() -> None:
    if any(engines.get(name).locate({}, shutil.which).path is None for name in ("nwchem", "xtb")):
        missing("NWChem or xTB is not installed; `make setup` installs them as root")


def sent(home: Home, job: str, step: str) -> list[rows.File]:
    """The checkpoint that other machines find."""
    app = App(home.settings)
    try:
        with app.store.read() as connection:
            return rows.of_job(connection, job, rows.CHECKPOINT, step=step)
    finally:
        app.close()


def snapshot(home: Home, job: str, step: str) -> bool:
    """Whether what was sent was taken after a step of the optimisation, and not in its first SCF."""
    return any("/checkpoint/" in file.path for file in sent(home, job, step))


def ended(home: Home, job: str) -> dict[str, Any]:
    seen = wait_for(lambda: job_if_over(home, job), 400.0, "the job's end")
    assert seen is not None
    assert seen["state"] == "succeeded", home.json("why", job)
    return seen


def job_if_over(home: Home, job: str) -> dict[str, Any] | None:
    seen = home.job(job)
    return seen if seen["state"] in FINAL else None


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_an_optimisation_goes_on_elsewhere_from_its_last_sent_checkpoint(
    machines: Machines, daemon: Callable[..., Daemon]
) -> None:
    desk, doomed, other = (machines.home(name) for name in ("desk", "doomed", "other"))
    daemon(on=doomed)
    job = str(desk.json("submit", "nmr", "CO", "--conformers", "none")["id"])
    wait_for(lambda: snapshot(desk, job, "optimise-c1"), 300.0, "a snapshot of the optimisation")
    doomed.end_processes()
    shutil.rmtree(doomed.path)  # and nothing of it is left for anybody
    daemon(on=other)
    steps = {step["id"]: step for step in ended(desk, job)["steps"]}
    assert steps["embed"]["attempt"] == 1  # what was finished is not repeated
    assert steps["optimise-c1"]["attempt"] == 2
    attempts = [one for one in desk.json("why", job)["attempts"] if one["step"] == "optimise-c1"]
    assert [one["state"] for one in attempts] == ["lost", "succeeded"]
    assert any(note.startswith("resume: restart from checkpoint/") for note in attempts[1]["notes"]), attempts[1]
    assert sent(desk, job, "optimise-c1") == []  # nobody needs it any more

    calm = str(desk.json("submit", "nmr", "CO", "--conformers", "none")["id"])
    ended(desk, calm)
    found, wanted = desk.json("result", job), desk.json("result", calm)
    assert found["energy_hartree"] == pytest.approx(wanted["energy_hartree"], abs=ENERGY_HARTREE)
    shieldings = [{row["atom"]: row["shielding_ppm"] for row in one["shifts"]} for one in (found, wanted)]
    assert shieldings[0] == pytest.approx(shieldings[1], abs=SHIELDING_PPM)
