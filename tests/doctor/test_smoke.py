"""`doctor --smoke`: real runs through the daemon's own code, which leave neither process nor file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qmrunner.doctor import smoke
from tests.doctor.machines import Doctor, needs_nwchem, needs_xtb
from tests.support import ROOT, Home, ended, wait_for

pytestmark = pytest.mark.engine


def marked(home: Home) -> list[int]:
    """Processes that work somewhere in the folder of the test."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(home.path.parent):
                found.append(int(pid))
        except OSError:
            continue
    return found


@needs_nwchem
@needs_xtb
@pytest.mark.ranks
def test_small_real_runs_give_the_right_energies(doctor: Doctor, home: Home) -> None:
    told = doctor("--smoke")
    assert told.summary["fail"] == 0, told.checks
    one, two = told.checks["smoke_nwchem_1"]["data"], told.checks["smoke_nwchem_2"]["data"]
    assert one["energy_hartree"] == pytest.approx(-1.1167593, abs=1e-6)
    if two["ran"]:
        assert two["cores"] == 2
        assert two["energy_hartree"] == pytest.approx(one["energy_hartree"], abs=1e-8)
    assert told.checks["smoke_xtb"]["data"]["energy_hartree"] == pytest.approx(-5.0703708, abs=1e-5)
    assert one["seconds"] > 0
    assert told.checks["smoke_chemistry"]["result"] == "ok"
    assert marked(home) == []


def test_a_package_that_is_installed_and_cannot_be_loaded_is_reported_by_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = "raise ImportError('libXrender.so.1: cannot open shared object file')"
    monkeypatch.setattr(smoke, "_LOADS", lacking)
    found = smoke._chemistry()
    assert (found.result, found.code) == ("fail", "library_broken")
    assert "libXrender.so.1" in found.text
    assert "libxrender1" in str(found.remedy)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_an_engine_that_dies_is_reported_with_its_code_and_the_line(doctor: Doctor, tmp_path: Path) -> None:
    bad = script(
        tmp_path / "bad-xtb",
        'if [ "$1" = --version ]; then echo "* xtb version 6.5.1"; exit 0; fi\n'
        'echo "No space left on device" >&2; exit 1',
    )
    found = doctor("--smoke", QMRUNNER_XTB=bad, QMRUNNER_NWCHEM="/nowhere").fault("smoke_xtb", "scratch_full")
    assert "No space left on device" in found["text"]


@needs_xtb
def test_an_engine_that_computes_something_else_is_not_trusted(doctor: Doctor, tmp_path: Path) -> None:
    """A real xTB with another method: the run succeeds, the energy is not the one that GFN2 gives."""
    bad = script(
        tmp_path / "other-xtb",
        'if [ "$1" = --version ]; then exec xtb --version; fi\nstructure=$1; shift\nexec xtb "$structure" --gfn 1 "$@"',
    )
    found = doctor("--smoke", QMRUNNER_XTB=bad, QMRUNNER_NWCHEM="/nowhere").fault("smoke_xtb", "wrong_energy")
    assert found["data"]["energy_hartree"] == pytest.approx(-5.77, abs=0.05)


def test_a_dry_run_of_crest_needs_no_energy(doctor: Doctor, tmp_path: Path) -> None:
    crest = script(
        tmp_path / "crest",
        'if [ "$1" = --version ]; then echo "Version 3.0.2"; exit 0; fi\n'
        'case " $* " in *" --dry "*) echo "  Version 3.0.2"; echo "dry run"; exit 0;; esac; exit 3',
    )
    told = doctor("--smoke", QMRUNNER_CREST=crest, QMRUNNER_NWCHEM="/nowhere")
    assert told.checks["smoke_crest"]["result"] == "ok", told.checks["smoke_crest"]


def test_a_doctor_that_is_killed_leaves_no_process(home: Home, tmp_path: Path) -> None:
    """Its spawner sees the end of its input, its guardian that no consumer is left."""
    slow = script(
        tmp_path / "slow-xtb", 'if [ "$1" = --version ]; then echo "* xtb version 6.5.1"; exit 0; fi\nexec sleep 300'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "qmrunner", "doctor", "--smoke"],
        cwd=home.path.parent,
        env=home.environment(PYTHONPATH=str(ROOT), QMRUNNER_XTB=slow, QMRUNNER_NWCHEM="/nowhere"),
        stdout=subprocess.DEVNULL,
    )
    with ended(process):
        engine = wait_for(
            lambda: [pid for pid in marked(home) if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"], 30.0
        )
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wait_for(lambda: not Path(f"/proc/{engine[0]}").exists(), 20.0, "the end of the engine")
    wait_for(lambda: marked(home) == [], 20.0, "the end of all processes of it")


def test_what_a_killed_doctor_left_is_removed_by_a_later_one(home: Home, tmp_path: Path) -> None:
    old, fresh = tmp_path / ".qmrunner-smoke-old", tmp_path / ".qmrunner-smoke-fresh"
    for folder in (old, fresh):
        (folder / "scratch").mkdir(parents=True)
    os.utime(old, (0, 0))
    home.run("doctor", "--smoke", QMRUNNER_XTB="/nowhere", QMRUNNER_NWCHEM="/nowhere")
    assert [path.name for path in tmp_path.glob(".qmrunner-smoke*")] == [fresh.name]
