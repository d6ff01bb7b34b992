"""What a worker container is for: its engines are there, and their answers are right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.e2e.docker import ROOT, Docker, Volumes, docker

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


def test_the_doctor_passes_inside_and_names_the_engines(containers: Docker, volumes: Volumes) -> None:
    """(1)"""
    worker = containers.start(volumes, QMRUNNER_CORES="2")
    report = worker.run("doctor", "--smoke", timeout_s=180)
    assert report.returncode == 0, report
    print(report.stdout)
    assert "NWChem 7." in report.stdout
    assert "xTB 6." in report.stdout
    assert "smoke_nwchem_2" in report.stdout
    assert ", 0 failed" in report.stdout


def test_a_prediction_for_water_ends_with_shifts(containers: Docker, volumes: Volumes) -> None:
    """(2)"""
    worker = containers.start(volumes)
    result = worker.succeeded(worker.submit("nmr", "O"))
    assert result["energy_hartree"] == pytest.approx(-76.41617, abs=1e-4)
    shifts = [row["shift_ppm"] for row in result["shifts"]]
    assert len(shifts) == 2
    assert all(math.isfinite(shift) for shift in shifts)
    found = volumes.look(f"ls /data/jobs/{result['id']}").split()
    assert {"result.json", "shifts.csv", "spectrum_1H.svg", "structure.svg"} <= set(found)


def test_a_molecule_of_62_atoms_does_not_overflow_the_stack(containers: Docker, volumes: Volumes) -> None:
    """(3) Limits are those that the engine gives by default: 8 MiB of stack, soft."""
    carbons = 20
    script = (
        "from rdkit import Chem; from rdkit.Chem import AllChem;"
        f"m = Chem.AddHs(Chem.MolFromSmiles('C' * {carbons}));"
        "AllChem.EmbedMolecule(m, randomSeed=1); AllChem.MMFFOptimizeMolecule(m); print(Chem.MolToXYZBlock(m))"
    )
    worker = containers.start(volumes)
    structure = worker.sh(f'/opt/qmrunner/bin/python -c "{script}"').stdout
    assert structure.startswith(f"{3 * carbons + 2}\n")
    job = worker.submit("xtb", worker.put("/tmp/long.xyz", structure), "--", "--opt", "loose", "--cycles", "40")
    worker.succeeded(job)
    limits = volumes.look(f"grep -c 'normal termination of xtb' /logs/{job}/xtb.1.log")
    assert limits.strip() == "1"


def test_a_mounted_crest_searches_conformers(containers: Docker, volumes: Volumes) -> None:
    """(4) The binary is the operator's; here it replays a recorded run of CREST 3.0.2, byte for byte."""
    recorded = ROOT / "tests" / "fixtures" / "crest" / "ethanol"
    program = ROOT / "tests" / "stand_ins" / "crest"
    worker = containers.start(
        volumes,
        *("-v", f"{program}:/opt/crest:ro", "-v", f"{recorded}:/recorded:ro", "-e", "STAND_IN_RECORDED=/recorded"),
        QMRUNNER_CREST="/opt/crest",
        QMRUNNER_CONFINE_ALLOW="/recorded",
    )
    assert "CREST 3.0.2 at /opt/crest" in worker.run("doctor").stdout
    result = worker.succeeded(worker.submit("conformers", "CCO", "--conformers", "crest"))
    assert len([row for row in result["conformers"] if row["state"] == "kept"]) >= 2


def test_four_jobs_at_once_have_the_results_of_one_alone(containers: Docker, volumes: Volumes, tmp_path: Path) -> None:
    """(5)"""
    worker = containers.start(volumes, QMRUNNER_CORES="2", QMRUNNER_SLOTS="2")
    deck = "start w\ngeometry noautoz\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\nend\nbasis spherical\n"
    deck += "* library 6-31G*\nend\ndft\nxc b3lyp\nend\ntask dft energy\n"
    worker.put("/tmp/w.nw", deck)
    worker.put("/tmp/w.xyz", WATER)
    alone = [worker.succeeded(worker.submit("nwchem", "/tmp/w.nw"))["energy_hartree"]]
    alone.append(worker.succeeded(worker.submit("xtb", "/tmp/w.xyz"))["energy_hartree"])
    jobs = [worker.submit(kind, path) for kind, path in (("nwchem", "/tmp/w.nw"), ("xtb", "/tmp/w.xyz")) * 2]
    together = [worker.succeeded(job)["energy_hartree"] for job in jobs]
    assert together == pytest.approx(alone * 2, abs=1e-7)
    assert worker.sh("ls /dev/shm").stdout == ""
    assert docker("inspect", "--format", "{{.State.OOMKilled}}", worker.name).stdout.strip() == "false"
