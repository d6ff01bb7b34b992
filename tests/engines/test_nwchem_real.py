"""The real NWChem, where it is installed: what is prepared runs, leaves nothing behind, and resumes after kill -9."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from qmrunner.attempt.environment import compose
from qmrunner.engines.base import Context
from qmrunner.engines.nwchem import NWChem
from qmrunner.host.probe import probe
from qmrunner.model.jobs import Command, Exit, Grant, Outcome, Step
from tests.engines.remedied import carry
from tests.engines.support import step
from tests.support import ended, wait_for

WATER = "3\nwater\nO 0.0 0.0 0.2\nH 0.0 0.8 -0.471\nH 0.0 -0.757 -0.471\n"
DECK = """start wat
geometry
 O 0 0 0.117
 H 0 0.757 -0.471
 H 0 -0.757 -0.471
end
basis
 * library sto-3g
end
task scf
"""
PARAMS: dict[str, Any] = {"atoms": ["O", "H", "H"], "basis": "6-31G*", "cosmo": "chcl3"}
# Under CI a missing engine is a failure: the tests then run, and say what is missing.
MISSING = NWChem().locate({}, shutil.which).path is None and os.environ.get("CI") != "true"
pytestmark = [
    pytest.mark.engine,
    pytest.mark.ranks,
    pytest.mark.skipif(MISSING, reason="nwchem is not installed"),
]
# Two ranks of EOM-CCSD took 240 s on two cores with a load of 14, of which 24 s each were their own.
_DEADLINE_SECONDS = 400


def prepare(
    asked: Step, inputs: dict[str, Path], directory: Path, previous: Path | None = None, cores: int = 2
) -> Command:
    directory.mkdir()
    installed = probe(NWChem(), {})
    command = NWChem().prepare(asked, Context(directory, inputs, Grant(cores, 1000, 500, 500), installed, previous))
    for name, text in command.files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    for name, source in command.copies.items():
        shutil.copyfile(source, directory / name)
    return command


def start(command: Command, directory: Path) -> subprocess.Popen[bytes]:
    env = dict(compose(os.environ, command.env, directory, "test").variables)
    with (directory.parent / f"{directory.name}.log").open("wb") as log:
        return subprocess.Popen(command.argv, cwd=directory, env=env, stdout=log, stderr=subprocess.STDOUT)


def finish(asked: Step, directory: Path, process: subprocess.Popen[bytes]) -> Outcome:
    code = process.wait(timeout=_DEADLINE_SECONDS)
    exit = Exit(code) if code >= 0 else Exit(None, -code)
    return NWChem().interpret(asked, directory, directory.parent / f"{directory.name}.log", exit)


def run(asked: Step, inputs: dict[str, Path], directory: Path, previous: Path | None = None, cores: int = 2) -> Outcome:
    with ended(start(prepare(asked, inputs, directory, previous, cores), directory)) as process:
        return finish(asked, directory, process)


def cycles(log: Path) -> int:
    """How many SCF iterations a run took."""
    return log.read_text().count(" d= 0,ls=")


def kill_at(process: subprocess.Popen[bytes], mark: Path) -> None:
    """SIGKILL the launcher and its ranks as soon as `mark` exists: no process can clean up."""
    deadline = time.monotonic() + 60
    while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [process.pid, *map(int, children)]:
        os.kill(pid, signal.SIGKILL)


def test_the_probe_finds_version_and_matching_launcher() -> None:
    installed = probe(NWChem(), {})
    assert installed.version
    assert installed.facts["problem"] is None


def test_a_deck_runs_and_reports_its_energy(tmp_path: Path) -> None:
    (tmp_path / "wat.nw").write_text(DECK)
    outcome = run(step("nwchem", "deck", deck="wat.nw"), {"wat.nw": tmp_path / "wat.nw"}, tmp_path / "a")
    assert outcome.state == "succeeded", outcome
    assert outcome.result["energy_hartree"] == pytest.approx(-74.963177, abs=1e-5)
    assert outcome.result["provenance"]["nwchem"]["ranks"] == 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Folder and outcome of the optimisation of WATER."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "in.xyz").write_text(WATER)
    optimised = run(step("nwchem", "optimise", **PARAMS), {"geometry": folder / "in.xyz"}, folder / "opt")
    assert optimised.state == "succeeded", optimised
    return folder / "opt", optimised


@pytest.mark.slow
def test_optimisation_and_shielding_give_complete_results(tmp_path: Path, undisturbed: tuple[Path, Outcome]) -> None:
    optimised, _ = undisturbed
    geometry = optimised / "geometry.xyz"
    shielded = run(step("nwchem", "shielding", **PARAMS), {"geometry": geometry}, tmp_path / "nmr")
    assert shielded.state == "succeeded", shielded
    values = shielded.result["shieldings"]
    again = {"geometry": geometry, "vectors": optimised / "calc.movecs"}
    quick = run(step("nwchem", "shielding", **PARAMS), again, tmp_path / "again")
    assert cycles(tmp_path / "again.log") < cycles(tmp_path / "nmr.log")
    assert [one["isotropic_ppm"] for one in quick.result["shieldings"]] == pytest.approx(
        [one["isotropic_ppm"] for one in values], abs=0.01
    )
    assert [(value["atom"], value["element"]) for value in values] == [(1, "O"), (2, "H"), (3, "H")]
    # Equivalent atoms: the optimiser and the grid leave them a little different.
    assert values[1]["isotropic_ppm"] == pytest.approx(values[2]["isotropic_ppm"], abs=0.05)


@pytest.mark.slow
def test_after_kill_9_the_optimisation_continues_to_the_same_energy_and_nothing_is_left_outside(
    tmp_path: Path, undisturbed: tuple[Path, Outcome]
) -> None:
    (tmp_path / "in.xyz").write_text(WATER)
    inputs = {"geometry": tmp_path / "in.xyz"}
    asked = step("nwchem", "optimise", **PARAMS)
    _, whole = undisturbed
    command = prepare(asked, inputs, tmp_path / "killed")
    shared_memory = set(os.listdir("/dev/shm"))
    with ended(start(command, tmp_path / "killed")) as process:
        kill_at(process, tmp_path / "killed" / "calc-002.xyz")
        assert finish(asked, tmp_path / "killed", process).code == "killed"
    assert {name for name in os.listdir("/dev/shm") if "vader" in name} <= shared_memory
    course = carry(NWChem(), asked, inputs, tmp_path / "resumed", previous=tmp_path / "killed", cores=2)
    resumed = course.outcome
    assert resumed.state == "succeeded", course
    # The kill may have cut the database in the middle of a write, visibly or not: then the ladder's next rung is right.
    assert set(course.codes[:-1]) <= {"restart_db_corrupt"}
    rungs = ("restart 1\n", "geometry+vectors 1\n", "geometry 1\n")
    assert (tmp_path / "resumed" / "1" / "resumed.txt").read_text() in rungs
    assert resumed.result["energy_hartree"] == pytest.approx(whole.result["energy_hartree"], abs=1e-6)


QUANTITIES = """start hf
geometry units angstrom
 H 0 0 0
 F 0 0 0.95
end
basis spherical
 * library sto-3g
end
task scf freq
dplot
 title density
 vectors hf.movecs
 limitxyz
 -2 2 4
 -2 2 4
 -2 2 4
 gaussian
 output density.cube
end
task dplot
task scf gradient
"""


@pytest.mark.filterwarnings("ignore")
def test_a_deck_leaves_quantities_a_cube_and_a_valid_qcschema(tmp_path: Path) -> None:
    (tmp_path / "hf.nw").write_text(QUANTITIES)
    outcome = run(step("nwchem", "deck", deck="hf.nw"), {"hf.nw": tmp_path / "hf.nw"}, tmp_path / "a")
    assert outcome.state == "succeeded", outcome
    found = outcome.result
    assert len(found["frequencies_cm1"]) == len(found["ir_intensities_km_mol"]) == 1
    assert found["enthalpy_hartree"] > found["energy_hartree"] > found["free_energy_hartree"] - 0.1
    assert found["atoms"] == ["H", "F"]
    assert {"density.cube", "hf.hess", "hf.movecs", "qcschema.json"} <= set(outcome.publish)
    assert not [name for name in outcome.publish if name.endswith((".db", ".zmat"))]
    read = pytest.importorskip("qcelemental.models").AtomicResult.parse_file(tmp_path / "a" / "qcschema.json")
    assert read.driver == "gradient"
    assert read.properties.return_energy == found["energy_hartree"]
    # In the frame of the molecule: the forces on both atoms are opposite, along the bond.
    assert read.return_result[0] == pytest.approx(-read.return_result[1], abs=1e-5)
    bond = read.molecule.geometry[1] - read.molecule.geometry[0]
    assert abs(bond[2]) == pytest.approx(0.95 / 0.529177, abs=1e-4)


BENT = """start bent
memory 400 mb
geometry units angstroms
 O 0 0 0.2
 H 0 0.9 -0.35
 H 0.1 -0.65 -0.6
end
basis
 * library 6-31g
end
dft
 xc b3lyp
end
task dft optimize
task dft freq
"""


@pytest.mark.timeout(600)  # 130 s with a load of 15, of which 20 s are its own
@pytest.mark.parametrize("mark", ["@    2 ", "NWChem Analytic Hessian"], ids=["optimisation", "frequencies"])
def test_a_users_deck_resumes_after_kill_9_to_the_same_energies(tmp_path: Path, mark: str) -> None:
    """Killed in its first task, and in a later one: then the optimised geometry is the start."""
    (tmp_path / "bent.nw").write_text(BENT)
    inputs, asked = {"bent.nw": tmp_path / "bent.nw"}, step("nwchem", "deck", deck="bent.nw")
    whole = run(asked, inputs, tmp_path / "whole")
    assert whole.state == "succeeded", whole
    log = tmp_path / "killed.log"
    with ended(start(prepare(asked, inputs, tmp_path / "killed"), tmp_path / "killed")) as process:
        # Two lines behind the mark, so that the database is not being written.
        wait_for(lambda: mark in log.read_text() and log.read_text().rpartition(mark)[2].count("\n") > 2, 60.0, mark)
        kill_at(process, log)
        assert finish(asked, tmp_path / "killed", process).code == "killed"
    resumed = run(asked, inputs, tmp_path / "resumed", tmp_path / "killed")
    assert resumed.state == "succeeded", resumed
    assert (tmp_path / "resumed" / "resumed.txt").read_text() == "restart 1\n"
    assert "geometry" not in (tmp_path / "resumed" / "bent.nw").read_text()
    assert cycles(tmp_path / "resumed.log") < cycles(tmp_path / "whole.log")
    assert resumed.result["energy_hartree"] == pytest.approx(whole.result["energy_hartree"], abs=2e-6)
    assert len(resumed.result["tasks"]) == len(whole.result["tasks"]) == 2
    for name in ("theory", "operation"):
        assert [task.get(name) for task in resumed.result["tasks"]] == [
            task.get(name) for task in whole.result["tasks"]
        ]
