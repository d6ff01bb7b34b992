"""All five kinds of job through the real daemon, with the real engines; CREST from a recording where there is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from tests.sampling import share
from tests.support import Daemon, Home, wait_for

TESTS = Path(__file__).parents[1]
WATER = "3\nwater\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n"
DECK = """start water
geometry noautosym
 load format xyz water.xyz
end
basis
 * library 6-31g
end
task scf energy
"""
pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.fixture
def place(home: Home) -> Home:
    """A folder with a molecule and a deck, beside a home whose engines are the real ones."""
    home.extra["QMRUNNER_CORES"] = "1"  # beside other tests: ranks spin while they wait for each other
    (home.path.parent / "water.xyz").write_text(WATER)
    (home.path.parent / "water.nw").write_text(DECK)
    return home


def ended(home: Home, job: str, deadline_s: float = 180.0) -> dict[str, Any]:
    final = ("succeeded", "failed", "cancelled", "held")
    wait_for(lambda: home.job(job)["state"] in final, deadline_s, "the job's end")
    return home.job(job)


@pytest.mark.slow
@pytest.mark.parametrize(("smiles", "rows"), share([("C#C", ["13C", "13C", "1H", "1H"]), ("[H][H]", ["1H", "1H"])], 2))
def test_linear_molecules_go_all_the_way(
    place: Home, daemon: Callable[..., Daemon], smiles: str, rows: list[str]
) -> None:
    running = daemon()
    shown = place.run("submit", "nmr", smiles, "--wait", timeout_s=300)
    assert shown.returncode == 0, shown.stderr
    (job,) = place.json("status")["jobs"]
    result = place.json("result", job["id"])
    assert sorted(row["nucleus"] for row in result["shifts"]) == rows
    assert result["provenance"]["steps"]["preopt-c1"]["attempts"] == 1
    assert running.stop() == 0


@pytest.mark.ranks
def test_a_prediction_from_smiles_ends_with_shifts_a_table_and_files(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    running = daemon(QMRUNNER_CORES="2")
    shown = place.run("submit", "nmr", "O", "--wait", timeout_s=180)
    assert shown.returncode == 0, shown.stderr
    assert "1H shifts" in shown.stdout
    assert "optimise-c1" in shown.stdout
    (job,) = place.json("status")["jobs"]
    result = place.json("result", job["id"])
    assert [row["atom"] for row in result["shifts"]] == [2, 3]
    assert {row["nucleus"] for row in result["shifts"]} == {"1H"}
    assert result["energy_hartree"] == pytest.approx(-76.41, abs=0.05)
    folder = place.settings.jobs_root / job["id"]
    for name in ("result.json", "shifts.csv", "geometry.xyz", "spectrum_1H.svg", "optimise-c1/output.log"):
        assert (folder / name).stat().st_size > 0
    assert json.loads((folder / "result.json").read_text())["shifts"] == result["shifts"]
    assert f"{job['id']}/optimise-c1| " in running.text()
    assert running.stop() == 0
    assert list(place.settings.scratch_root.iterdir()) == []


@pytest.mark.slow
def test_an_optimisation_whose_guardian_is_killed_continues_and_ends_with_the_same_energy(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    daemon()
    calm = str(place.json("submit", "nmr", "CO", "--solvent", "vacuum")["id"])
    energy = {"calm": conformer_energy(place, calm)}
    job = str(place.json("submit", "nmr", "CO", "--solvent", "vacuum")["id"])
    step = wait_for(lambda: optimising(place, job), 60.0, "the first geometry step")
    assert step is not None
    os.kill(step["guardian_pid"], signal.SIGKILL)
    energy["disturbed"] = conformer_energy(place, job)
    assert energy["disturbed"] == pytest.approx(energy["calm"], abs=1e-6)
    tries = {row["id"]: row["attempt"] for row in place.job(job)["steps"]}
    assert tries == {"embed": 1, "preopt-c1": 1, "optimise-c1": 2, "shielding-c1": 1, "shifts": 1}
    notes = [" ".join(one["notes"]) for one in place.json("why", job)["attempts"] if one["attempt"] == 2]
    assert "resume" in notes[0]


def conformer_energy(home: Home, job: str) -> float:
    assert ended(home, job)["state"] == "succeeded"
    return float(home.json("result", job)["conformers"][0]["energy_hartree"])


def optimising(home: Home, job: str) -> dict[str, Any] | None:
    """The optimisation, once it runs and has taken a step."""
    for step in home.job(job)["steps"]:
        log = Path(step["log"] or "/nonexistent")
        if step["id"] == "optimise-c1" and step["state"] == "running" and log.exists():
            lines = log.read_text(errors="replace").splitlines()
            if any(line.startswith("@    1") for line in lines):
                return dict(step)
    return None


def test_a_deck_of_ones_own_runs_with_the_files_given_along(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    job = place.json("submit", "nwchem", "water.nw", "--with", "water.xyz")["id"]
    assert ended(place, job)["state"] == "succeeded"
    assert place.json("result", job)["energy_hartree"] == pytest.approx(-75.98, abs=0.02)
    raw = place.run("logs", job).stdout
    assert "Total SCF energy" in raw
    assert "CITATION" in raw


def test_a_deck_that_fails_ends_failed_with_code_evidence_and_log(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    (place.path.parent / "water.nw").write_text(DECK.replace("6-31g", "no-such-basis"))
    shown = place.run("submit", "nwchem", "water.nw", "--with", "water.xyz", "--wait", timeout_s=60)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stdout + shown.stderr
    (job,) = place.json("status")["jobs"]
    why = place.json("why", job["id"])
    assert why["code"] == "basis_not_found"
    assert "no-such-basis" in why["evidence"]["text"] or "basis" in why["evidence"]["text"]
    assert why["remedy"]
    log = Path(why["attempts"][0]["log"])
    assert str(log) in shown.stdout
    assert log.read_text(errors="replace").splitlines()[why["evidence"]["line"] - 1].rstrip() == why["evidence"]["text"]


def test_xtb_runs_with_flags_of_ones_own(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    shown = place.run("submit", "xtb", "water.xyz", "--wait", "--", "--opt", "tight", "--alpb", "chcl3", timeout_s=60)
    assert shown.returncode == 0, shown.stderr
    (job,) = place.json("status")["jobs"]
    result = place.json("result", job["id"])
    assert result["energy_hartree"] == pytest.approx(-5.07, abs=0.02)
    assert "xtb/xtbopt.xyz" in result["files"]


def test_conformers_of_a_molecule_end_with_an_ensemble(place: Home, daemon: Callable[..., Daemon]) -> None:
    daemon()
    job = place.json("submit", "conformers", "CCO", "--conformers", "rdkit")["id"]
    assert ended(place, job)["state"] == "succeeded"
    result = place.json("result", job)
    assert len([one for one in result["conformers"] if one["weight"]]) >= 2
    assert "ensemble.xyz" in result["files"]


def test_a_failed_conformer_of_weight_fails_its_job_with_a_remedy_and_retry_mends_it(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    mended, xtb = place.path.parent / "mended", place.path.parent / "xtb"
    fails = f'case "$QMRUNNER_ATTEMPT" in */preopt-c1/*) [ -e {quote(str(mended))} ] || exit 1;; esac'
    xtb.write_text(f'#!/bin/sh\n{fails}\nexec {shutil.which("xtb")} "$@"\n')
    xtb.chmod(0o755)
    place.extra |= {"QMRUNNER_XTB": str(xtb), "QMRUNNER_MAX_RETRIES": "0"}
    daemon()
    job = place.json("submit", "conformers", "CCO", "--conformers", "rdkit")["id"]
    assert ended(place, job)["state"] == "failed"
    why = place.json("why", job)
    assert why["code"] == "weight_lost"
    assert "c1" in why["summary"]
    assert "--max-lost-weight" in why["remedy"]
    mended.touch()
    assert place.run("retry", job).returncode == 0
    assert ended(place, job)["state"] == "succeeded"
    assert {row["state"] for row in place.json("result", job)["conformers"]} == {"kept"}
    assert "conformers by GFN2-xTB, weights at 298.15 K" in place.run("result", job).stdout


def test_crest_runs_as_it_was_recorded(place: Home, daemon: Callable[..., Daemon]) -> None:
    recorded = TESTS / "fixtures" / "crest" / "ethanol-mquick"
    shutil.copyfile(recorded / "ethanol.xyz", place.path.parent / "ethanol.xyz")
    place.extra |= {"QMRUNNER_CREST": str(TESTS / "stand_ins" / "crest"), "STAND_IN_RECORDED": str(recorded)}
    daemon()
    shown = place.run("submit", "crest", "ethanol.xyz", "--wait", "--", "--mquick", timeout_s=60)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    (job,) = place.json("status")["jobs"]
    result = place.json("result", job["id"])
    assert result["energy_hartree"] == pytest.approx(-11.4006, abs=0.001)
    assert len(result["conformers"]) >= 2
    assert "crest/crest_conformers.xyz" in result["files"]
