"""scratch plan and scratch usage: figures that follow what is asked, and what is on the volume."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmrunner.app import App
from qmrunner.engines.nwchem.resources import basis_functions, demand_of_molecule
from qmrunner.store import jobs, usage_peaks
from qmrunner.submission.submit import submit
from tests import molecules
from tests.lifecycle.lab import STAND_IN, Lab
from tests.support import Daemon, Home, wait_for


def planned(home: Home, **asked: object) -> dict[str, Any]:
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    found: dict[str, Any] = home.json("scratch", "plan", *words)
    return found


def stage(plan: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in plan["stages"] if row["stage"] == name)
    return found


def test_a_plan_needs_no_store_and_leaves_none(home: Home) -> None:
    assert planned(home, jobs=1)["asked"]["jobs"] == 1
    assert not home.path.exists()


def test_the_shielding_of_a_plan_is_what_the_engine_will_ask_for(home: Home) -> None:
    plan = planned(home, jobs=4, conformers=20, atoms=40, level="production", cores=16, slots=8)
    atoms = ["C"] * 20 + ["H"] * 20
    demand = demand_of_molecule("shielding", atoms, "6-311+G(2d,p)")
    row = stage(plan, "shielding")
    assert (row["steps"], row["cores"]) == (80, 2)
    assert (row["memory_mib"], row["scratch_mib"], row["shm_mib"]) == (
        demand.memory_mib(2), demand.scratch_mib, demand.shm_mib,
    )  # fmt: skip
    response = 72 * 40 * basis_functions(atoms, "6-311+G(2d,p)") ** 2 / 2**20
    assert row["shm_mib"] > response
    assert plan["at_once_needs"]["shm_mib"] == 8 * demand.shm_mib
    assert f"    shm_size: {-(-plan['needs']['shm_mib'] // 1024)}g" in plan["compose"]


def test_a_plan_expects_what_runs_of_that_kind_and_size_used(home: Home) -> None:
    before = stage(planned(home, atoms=20, cores=2), "shielding")
    assert (before["attempts"], before["expected"]) == (0, None)
    teach(home, {"peak_memory_mib": 300.0, "peak_scratch_mib": 24.0, "peak_shm_mib": 20.0, "wall_s": 60.0}, times=5)
    after = stage(planned(home, atoms=20, cores=2), "shielding")
    assert after["attempts"] == 5
    assert after["expected"] == {"memory_mib": 300, "scratch_mib": 24, "shm_mib": 20}
    assert after["scratch_mib"] == 30 < before["scratch_mib"]  # a quarter above what was seen
    assert after["memory_mib"] == before["memory_mib"]  # which the deck promises its ranks
    assert stage(planned(home, atoms=40, cores=2), "shielding")["attempts"] == 0
    text = home.run("scratch", "plan", "--atoms", "20", "--cores", "2").stdout
    assert f"{after['memory_mib']} (300)" in text


def test_what_no_run_measured_is_not_reported_as_expected(home: Home) -> None:
    teach(home, {"peak_memory_mib": 300.0, "peak_scratch_mib": 24.0, "wall_s": 0.1}, times=1)  # too short for memory
    row = stage(planned(home, atoms=20, cores=2), "shielding")
    assert row["expected"] == {"memory_mib": None, "scratch_mib": 24, "shm_mib": None}
    text = home.run("scratch", "plan", "--atoms", "20", "--cores", "2").stdout
    assert f"{row['memory_mib']} (" not in text
    assert f"{row['scratch_mib']} (24)" in text


def teach(home: Home, usage: dict[str, float], times: int) -> None:
    """Successful shieldings with two cores of 20 atoms, half of them hydrogens, as a draft prediction has them."""
    home.run("db", "upgrade")
    app = App(home.settings)
    job = submit(app, molecules.nmr("CCC(=O)c1ccccc1")).job_id
    with app.store.write() as connection:
        found = next(step for step in jobs.of_job(connection, job) if step.stage == "shielding")
        assert len(found.params["atoms"]) == 20
        rule = demand_of_molecule("shielding", found.params["atoms"], found.params["basis"])
        for _ in range(times):
            usage_peaks.record(connection, replace(found, demand=rule), 2, usage)
    app.close()


def test_more_conformers_than_slots_need_no_more_at_once_but_more_room_for_results(home: Home) -> None:
    few, many = (planned(home, jobs=1, conformers=n, atoms=20, cores=4, slots=4) for n in (4, 40))
    assert few["at_once_needs"] == many["at_once_needs"]
    assert many["needs"]["home_mib"] > few["needs"]["home_mib"]


def test_fewer_conformers_than_slots_need_less(home: Home) -> None:
    one, two = (planned(home, jobs=1, conformers=n, atoms=20, cores=4, slots=4) for n in (1, 2))
    assert one["at_once"] == 1
    assert one["at_once_needs"]["shm_mib"] * 2 == two["at_once_needs"]["shm_mib"]


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--level", "best"], ["--atoms", "many"]])
def test_a_plan_of_nonsense_is_refused(home: Home, words: list[str]) -> None:
    assert home.run("scratch", "plan", *words).returncode == 2


def test_for_people_a_plan_ends_with_the_lines_to_paste(home: Home) -> None:
    ended = home.run("scratch", "plan", "--jobs", "4", "--conformers", "20", "--atoms", "40", "--level", "production")
    assert ended.returncode == 0
    assert "shielding" in ended.stdout
    assert "    shm_size: " in ended.stdout
    assert "scratch:/scratch" in ended.stdout


def test_usage_reports_by_job_what_is_on_disk_reserved_and_still_to_come(
    home: Home, daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    home.extra |= {"QMRUNNER_XTB": str(STAND_IN), "STAND_IN_GATE": str(tmp_path / "gate")}
    home.extra["QMRUNNER_SLOTS"] = "1"
    lab = Lab(home, daemon)
    try:
        lab.start()
        running = lab.submit(fill=20, gate=1)
        lab.running(running)
        lab.submit()
        wait_for(lambda: home.job(running)["steps"][0]["usage"].get("scratch_mib", 0) >= 20, 15, "a saved look")
        found = home.json("scratch", "usage")
        (row,) = [row for row in found["jobs"] if row["job"] == running]
        assert (row["running"], row["reserved_mib"]) == (1, 256)
        assert 20 <= row["running_mib"] < 21
        assert row["unused_mib"] == pytest.approx(256 - row["running_mib"], abs=0.11)
        assert 20 <= row["on_disk_mib"] < 21
        assert found["waiting"]["steps"] == 1
        assert found["waiting"]["start_now"] == 0
        free = found["volume"]["free_mib"]
        assert found["forecast"]["free_when_reservations_are_used_mib"] == pytest.approx(free - 236, abs=1)
        assert found["left_mib"] <= free - found["volume"]["soft_mark_mib"] - 235
        text = home.run("scratch", "usage").stdout
        assert running in text
        assert "waiting: 1 step(s)" in text
        lab.open_gate()
    finally:
        lab.close()


def test_usage_of_an_empty_home_reports_it(home: Home) -> None:
    home.run("db", "upgrade")
    ended = home.run("scratch", "usage")
    assert ended.returncode == 0
    assert "no job has files in scratch" in ended.stdout
    assert os.listdir(home.settings.scratch_root) == []
