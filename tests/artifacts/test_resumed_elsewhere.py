"""A machine is lost for good in the middle of a calculation; another one resumes from the checkpoint that was sent."""

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


def goes_on(desk: Home, job: str, before: str) -> None:
    """The optimisation's second attempt resumed from a snapshot, ended well, and nothing else was repeated."""
    steps = {step["id"]: step for step in ended(desk, job)["steps"]}
    assert steps["embed"]["attempt"] == 1  # what was finished is not repeated
    assert steps["optimise-c1"]["attempt"] == 2
    attempts = [one for one in desk.json("why", job)["attempts"] if one["step"] == "optimise-c1"]
    assert [one["state"] for one in attempts] == [before, "succeeded"]
    assert any(note.startswith("resume: restart from checkpoint/") for note in attempts[1]["notes"]), attempts[1]
    assert sent(desk, job, "optimise-c1") == []  # it is not needed any more


@pytest.mark.engine
@pytest.mark.ranks
@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_an_optimisation_whose_machine_is_lost_continues_elsewhere_to_the_same_shifts(
    machines: Machines, daemon: Callable[..., Daemon]
) -> None:
    desk, doomed, other = (machines.home(name) for name in ("desk", "doomed", "other"))
    daemon(on=doomed)
    # Long enough for a second sending: one may cost a hundredth of the step's time.
    job = str(desk.json("submit", "nmr", "CCCO", "--conformers", "none")["id"])
    wait_for(lambda: snapshot(desk, job, "optimise-c1"), 300.0, "a snapshot of the optimisation")
    doomed.end_processes()
    shutil.rmtree(doomed.path)  # and nothing of it is left
    daemon(on=other)
    goes_on(desk, job, "lost")

    calm = str(desk.json("submit", "nmr", "CCCO", "--conformers", "none")["id"])
    ended(desk, calm)
    found, wanted = desk.json("result", job), desk.json("result", calm)
    assert found["energy_hartree"] == pytest.approx(wanted["energy_hartree"], abs=ENERGY_HARTREE)
    shieldings = [{row["atom"]: row["shielding_ppm"] for row in one["shifts"]} for one in (found, wanted)]
    assert shieldings[0] == pytest.approx(shieldings[1], abs=SHIELDING_PPM)


@pytest.mark.engine
@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_a_drained_machine_sends_the_last_checkpoint_before_it_releases_the_step(
    machines: Machines, daemon: Callable[..., Daemon]
) -> None:
    """Sent then only: in between there was no time for any."""
    desk, drained, other = (machines.home(name, QMRUNNER_CHECKPOINT_SECONDS="1e6") for name in ("desk", "a", "b"))
    drained.extra["QMRUNNER_STOP_GRACE_SECONDS"] = "60"  # this machine may be busy
    worker = daemon(on=drained)
    job = str(desk.json("submit", "nmr", "CO", "--conformers", "none")["id"])
    work = drained.path / "scratch" / job / "optimise-c1" / "1" / "work"
    wait_for(lambda: any(work.parent.glob("checkpoint/[1-9]*")), 300.0, "a snapshot of the optimisation")
    assert sent(desk, job, "optimise-c1") == []
    assert worker.stop(90.0) == 0
    assert snapshot(desk, job, "optimise-c1")
    shutil.rmtree(drained.path)
    daemon(on=other)
    goes_on(desk, job, "stopped")
