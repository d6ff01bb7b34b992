"""The real xTB, where it is installed: what is prepared runs, and what it wrote is understood."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qmrunner.attempt.environment import compose
from qmrunner.engines.base import Context
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.host.probe import probe
from qmrunner.model.jobs import Exit, Grant, Outcome, Step
from tests.engines.support import FIXTURES, step

WATER = "3\nwater\nO 0.0 0.0 0.117\nH 0.0 0.757 -0.469\nH 0.0 -0.757 -0.469\n"
pytestmark = [
    pytest.mark.engine,
    # Under CI a missing engine is a failure: the tests then run, and say what is missing.
    pytest.mark.skipif(shutil.which("xtb") is None and os.environ.get("CI") != "true", reason="xtb is not installed"),
]


def run(asked: Step, inputs: dict[str, Path], directory: Path) -> Outcome:
    """Prepare, run and interpret, with stdout and stderr in one file as a guardian has it."""
    directory.mkdir()
    installed = probe(Xtb(), {})
    command = Xtb().prepare(asked, Context(directory, inputs, Grant(1, 512, 64, 0), installed))
    for target, source in command.copies.items():
        shutil.copyfile(source, directory / target)
    environment = dict(compose(os.environ, command.env, directory, "test").variables)
    log = directory.parent / "step.1.log"
    with log.open("ab") as stream:
        ended = subprocess.run(
            command.argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    code = ended.returncode
    return Xtb().interpret(asked, directory, log, Exit(code) if code >= 0 else Exit(None, -code))


def test_the_installed_xtb_reports_its_version() -> None:
    found = probe(Xtb(), {})
    assert found.path is not None
    assert found.version is not None


def test_water_is_optimised_and_its_geometry_published(tmp_path: Path) -> None:
    geometry = tmp_path / "water.xyz"
    geometry.write_text(WATER)
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb="water", atoms=["O", "H", "H"], level="tight")
    got = run(asked, {"geometry": geometry}, tmp_path / "attempt")
    assert got.state == "succeeded", got
    assert got.result["converged"] is True
    assert got.result["energy_hartree"] == pytest.approx(-5.0856, abs=0.01)
    assert got.result["gradient_norm"] < 1e-3
    assert got.publish == ("geometry.xyz",)


def test_a_hessian_of_a_minimum_is_published_and_one_of_a_saddle_point_is_not(tmp_path: Path) -> None:
    (tmp_path / "water.xyz").write_text(WATER)
    # Planar ammonia is the top of its inversion; xTB keeps the plane.
    (tmp_path / "ammonia.xyz").write_text("4\nplanar\nN 0 0 0\nH 1.0 0 0\nH -0.5 0.866025 0\nH -0.5 -0.866025 0\n")
    common = {"charge": 0, "multiplicity": 1, "alpb": None, "level": "tight", "hessian": True}
    asked = step("xtb", "optimise", atoms=["O", "H", "H"], **common)
    got = run(asked, {"geometry": tmp_path / "water.xyz"}, tmp_path / "minimum")
    assert got.publish == ("geometry.xyz", "hessian")
    assert got.result["lowest_wavenumber_cm1"] > 1000
    asked = step("xtb", "optimise", atoms=["N", "H", "H", "H"], **common)
    got = run(asked, {"geometry": tmp_path / "ammonia.xyz"}, tmp_path / "saddle")
    assert got.state == "succeeded", got
    assert got.publish == ("geometry.xyz",)
    assert got.result["lowest_wavenumber_cm1"] < -100


def test_a_single_atom_is_optimised_without_a_step(tmp_path: Path) -> None:
    geometry = tmp_path / "he.xyz"
    geometry.write_text("1\nhelium\nHe 0.0 0.0 0.0\n")
    got = run(step("xtb", "user", structure="he.xyz", args=["--opt"]), {"he.xyz": geometry}, tmp_path / "attempt")
    assert got.state == "succeeded", got


def test_a_user_run_of_butanol_gives_the_recorded_energy_and_its_files(tmp_path: Path) -> None:
    source = FIXTURES / "xtb-runs/butanol-opt/butanol.xyz"
    args = ["--opt", "tight", "--alpb", "chcl3", "--gfn", "2", "--json"]
    asked = step("xtb", "user", structure="butanol.xyz", args=args, inputs={"butanol.xyz": "input/butanol.xyz"})
    got = run(asked, {"butanol.xyz": source}, tmp_path / "attempt")
    assert got.state == "succeeded", got
    assert {"xtbopt.xyz", "xtbout.json", "charges", "wbo"} <= set(got.publish)
    recorded = (FIXTURES / "xtb-runs/butanol-opt/xtbopt.xyz").read_text().splitlines()[1].split()[1]
    assert got.result["energy_hartree"] == pytest.approx(float(recorded), abs=1e-5)


def test_a_run_in_its_own_namespace_is_found(tmp_path: Path) -> None:
    geometry = tmp_path / "water.xyz"
    geometry.write_text(WATER)
    asked = step("xtb", "user", structure="water.xyz", args=["--ohess", "--namespace", "w"])
    got = run(asked, {"water.xyz": geometry}, tmp_path / "attempt")
    assert got.state == "succeeded", got
    assert {"w.xtbopt.xyz", "w.hessian", "w.vibspectrum"} <= set(got.publish)


def test_an_option_it_ignores_is_a_failure(tmp_path: Path) -> None:
    geometry = tmp_path / "water.xyz"
    geometry.write_text(WATER)
    asked = step("xtb", "user", structure="water.xyz", args=["--optimize"])
    got = run(asked, {"water.xyz": geometry}, tmp_path / "attempt")
    assert (got.state, got.code) == ("failed", "input_error")
    assert got.evidence is not None
    assert "--optimize" in got.evidence.text


def test_frequencies_gradient_and_json_together_are_whole(tmp_path: Path) -> None:
    source = FIXTURES / "xtb-runs/ethanol-sp/ethanol.xyz"
    asked = step("xtb", "user", structure="ethanol.xyz", args=["--ohess", "--grad", "--json"])
    got = run(asked, {"ethanol.xyz": source}, tmp_path / "attempt")
    assert got.state == "succeeded", got
    assert {"hessian", "vibspectrum", "gradient", "xtbout.json"} <= set(got.publish)
    assert got.result["free_energy_hartree"] is not None


@pytest.mark.parametrize(
    ("atoms", "along"), [("CCHH", (0.6, -0.6, 1.66, -1.66)), ("HCN", (-1.06, 0.0, 1.15)), ("HH", (0.0, 0.74))]
)
def test_linear_molecules_get_structure_and_hessian(atoms: str, along: tuple[float, ...], tmp_path: Path) -> None:
    rows = [f"{symbol} {z / 3**0.5} {z / 3**0.5} {z / 3**0.5}" for symbol, z in zip(atoms, along, strict=True)]
    (tmp_path / "in.xyz").write_text("\n".join([str(len(atoms)), "linear", *rows]) + "\n")
    asked = step("xtb", "optimise", charge=0, multiplicity=1, alpb="chcl3", atoms=list(atoms), hessian=True)
    got = run(asked, {"geometry": tmp_path / "in.xyz"}, tmp_path / "attempt")
    assert got.state == "succeeded", got
    assert got.publish == ("geometry.xyz", "hessian")
