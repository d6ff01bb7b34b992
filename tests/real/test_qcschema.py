"""Inputs of QCSchema through the daemon and real engines, against what QCEngine's own harnesses returned for them.

`benchmarks/qcengine_reference.py` recorded the fixture.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sampling import share
from tests.support import ROOT, Daemon, Home, wait_for
from tests.surroundings import plain

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]
RECORDED: dict[str, Any] = json.loads((ROOT / "tests/fixtures/qcengine/results.json").read_text())
WATER = RECORDED["H2O hf gradient"]["input"]["molecule"]
ENERGY, DERIVATIVE = 1e-8, 1e-6


def submitted(home: Home, name: str, document: dict[str, Any], *more: str) -> str:
    path = home.path.parent / f"{name.replace(' ', '-')}.json"
    path.write_text(json.dumps(document))
    return str(home.json("submit", "qcschema", str(path), "--name", name, *more)["id"])


def ended(home: Home, job: str) -> str:
    return str(wait_for(lambda: state if (state := home.job(job)["state"]) not in _LIVE else None, 240.0, job))


_LIVE = ("queued", "running")


def answered(home: Home, job: str) -> dict[str, Any]:
    printed = home.run("result", job, "--format", "qcschema")
    assert printed.returncode == 0, printed.stderr
    found: dict[str, Any] = json.loads(printed.stdout)
    return found


def test_energies_and_derivatives_are_those_of_qcengine(home: Home, daemon: Callable[..., Daemon]) -> None:
    models = pytest.importorskip("qcelemental.models.v1")
    daemon(QMRUNNER_CORES="1")  # beside other tests: ranks spin while they wait for each other
    jobs = {
        name: submitted(home, name, known["input"] | {"id": name, "extras": {"mine": [name]}})
        for name, known in share(RECORDED.items(), 3)
    }
    worst: dict[str, tuple[float, float]] = {}
    for name, job in jobs.items():
        assert ended(home, job) == "succeeded", home.run("why", job).stdout
        result, known = answered(home, job), RECORDED[name]
        assert models.AtomicResult(**result).success
        assert (result["id"], result["extras"]["mine"]) == (name, [name])
        assert result["molecule"] == known["input"]["molecule"]
        assert (result["model"], result["keywords"]) == (known["input"]["model"], known["input"]["keywords"])
        returned = result["return_result"]
        pairs = zip(flat(returned), flat(known["return_result"]), strict=True)
        energy = abs(result["properties"]["return_energy"] - known["energy"])
        worst[name] = energy, max(abs(a - b) for a, b in pairs)
    assert {name: errors for name, errors in worst.items() if errors[0] > ENERGY or errors[1] > DERIVATIVE} == {}


def flat(value: Any) -> list[float]:
    return [number for row in value for number in flat(row)] if isinstance(value, list) else [float(value)]


def test_hessians_of_xtb_are_those_of_xtb_run_alone(home: Home, daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """xTB's own `--hess`, on the same coordinates: an ion and a radical have their charge and spin there, too."""
    daemon(QMRUNNER_CORES="1")
    cases = {
        name: RECORDED[f"{name} GFN2-xTB gradient"]["input"] | {"driver": "hessian"} for name in ("H2O", "H3O+", "NH2")
    }
    jobs = {name: submitted(home, f"hessian {name}", document) for name, document in cases.items()}
    for name, job in jobs.items():
        assert ended(home, job) == "succeeded", home.run("why", job).stdout
        molecule = cases[name]["molecule"]
        folder = tmp_path / name
        folder.mkdir()
        flat = molecule["geometry"]
        rows = zip(flat[::3], flat[1::3], flat[2::3], molecule["symbols"], strict=True)
        text = "".join(f"{x:.14f} {y:.14f} {z:.14f} {symbol}\n" for x, y, z, symbol in rows)
        (folder / "alone.coord").write_text(f"$coord\n{text}$end\n")
        charge, unpaired = molecule.get("molecular_charge") or 0, (molecule.get("molecular_multiplicity") or 1) - 1
        flags = ["--gfn", "2", "--chrg", str(charge), "--uhf", str(unpaired), "--hess"]
        xtb = shutil.which(home.settings.xtb or "xtb") or "xtb"
        environment = {**plain(), "OMP_NUM_THREADS": "1", "OMP_STACKSIZE": "1G"}
        subprocess.run(
            [xtb, "alone.coord", *flags], cwd=folder, env=environment, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        alone = [float(word) for word in (folder / "hessian").read_text().split()[1:]]
        returned = answered(home, job)["return_result"]
        assert np.array(returned).ravel() == pytest.approx(alone, abs=DERIVATIVE), name


def test_optimisations_keep_the_frame_and_failures_are_failed_operations(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    models = pytest.importorskip("qcelemental.models.v1")
    daemon(QMRUNNER_CORES="1")  # beside other tests: ranks spin while they wait for each other
    by_xtb = submitted(home, "opt xtb", optimisation("GFN2-xTB", None, convergence_set="GAU_TIGHT"))
    by_nwchem = submitted(home, "opt hf", optimisation("hf", "sto-3g", maxiter=30))
    hessian = RECORDED["H2O GFN2-xTB gradient"]["input"] | {"driver": "hessian"}
    vibrations = submitted(home, "hess xtb", hessian)
    bad = submitted(home, "bad", RECORDED["H2O hf hessian"]["input"] | {"model": {"method": "hf", "basis": "no-such"}})
    for job, energy, distance in ((by_xtb, -5.0705444, 1.8118), (by_nwchem, -74.9659012, 1.8697)):
        assert ended(home, job) == "succeeded", home.run("why", job).stdout
        found = models.OptimizationResult(**answered(home, job))
        assert found.energies[-1] == pytest.approx(energy, abs=1e-6)
        # Each step is there, from the input to the result, which is the lowest.
        assert found.extras["qmrunner"]["trajectory"] == "every step"
        assert found.energies == [point.properties.return_energy for point in found.trajectory]
        assert min(found.energies) == found.energies[-1]
        assert len(found.energies) > 2
        start, end = found.trajectory[0].molecule.geometry, found.trajectory[-1].molecule.geometry
        assert abs(start - found.initial_molecule.geometry).max() < 1e-6
        assert (end == found.final_molecule.geometry).all()
        oxygen, first, _ = found.final_molecule.geometry
        assert sum((oxygen - first) ** 2) ** 0.5 == pytest.approx(distance, abs=2e-3)
        # The molecule has not been moved or turned: the plane of the atoms and the axis stay.
        assert [row[0] for row in found.final_molecule.geometry] == pytest.approx([0.1] * 3, abs=1e-6)
        assert oxygen[1] == pytest.approx(-0.2, abs=1e-6)
    assert ended(home, vibrations) == "succeeded"
    assert models.AtomicResult(**answered(home, vibrations)).return_result.shape == (9, 9)
    assert ended(home, bad) == "failed"
    failed = models.FailedOperation(**answered(home, bad))
    assert (failed.error.error_type, failed.input_data["model"]["basis"]) == ("basis_not_found", "no-such")
    assert failed.error.extras["job"] == bad


def optimisation(method: str, basis: str | None, **keywords: Any) -> dict[str, Any]:
    return {
        "schema_name": "qcschema_optimization_input",
        "schema_version": 1,
        "keywords": keywords,
        "input_specification": {"driver": "gradient", "model": {"method": method, "basis": basis}, "keywords": {}},
        "initial_molecule": WATER,
    }


def test_an_input_that_cannot_be_computed_is_refused_at_once(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_text(json.dumps(RECORDED["H2O hf gradient"]["input"] | {"driver": "magic"}))
    refused = home.run("submit", "qcschema", str(path))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "qcschema_unsupported" in refused.stderr
    assert "energy, gradient, hessian" in refused.stderr
