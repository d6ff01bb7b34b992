"""`qcschema.json` is an AtomicResult by QCElemental's own validation, with the energy of the result."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines import qcschema
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import FIXTURES, step

WATER = qcschema.Run(
    program="NWChem",
    version="7.0.2",
    driver="energy",
    method="CCSD(T)",
    basis="6-31g*",
    symbols=("O", "H", "H"),
    coordinates_bohr=(0.0, 0.0, 0.2217, 0.0, 1.4309, -0.8867, 0.0, -1.4309, -0.8867),
    charge=0,
    multiplicity=1,
    energy_hartree=-76.209712484469,
    energies={"HF": -76.010504991034, "MP2": -76.199026586471, "CCSD": -76.2078, "CCSD(T)": -76.209712484469},
    gradient=tuple(0.01 * at for at in range(9)),
    hessian=tuple(0.01 * at for at in range(81)),
    quantities={"dipole_debye": 2.2},
)


def validated(text: str | None) -> Any:
    models = pytest.importorskip("qcelemental.models")
    assert text is not None
    return models.AtomicResult(**json.loads(text))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("driver", "shape"), [("energy", ()), ("gradient", (3, 3)), ("hessian", (9, 9))])
def test_each_driver_is_valid(driver: str, shape: tuple[int, ...]) -> None:
    read = validated(qcschema.document(replace(WATER, driver=driver)))
    assert getattr(read.return_result, "shape", ()) == shape
    assert read.properties.return_energy == WATER.energy_hartree
    assert read.properties.ccsd_prt_pr_total_energy == WATER.energy_hartree
    assert read.properties.scf_total_energy == -76.010504991034
    assert read.molecule.geometry.ravel().tolist() == pytest.approx(WATER.coordinates_bohr)
    assert (read.provenance.creator, read.provenance.version) == ("NWChem", "7.0.2")


@pytest.mark.filterwarnings("ignore")
def test_properties_are_returned_by_their_names() -> None:
    assert validated(qcschema.document(replace(WATER, driver="properties"))).return_result["dipole_debye"] == 2.2


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbols": ("O", "H", "Bq")},
        {"symbols": ()},
        {"driver": "gradient", "gradient": None},
        {"driver": "hessian", "hessian": (1.0,)},
        {"coordinates_bohr": (0.0,)},
        {"energy_hartree": float("nan")},
    ],
)
def test_what_is_no_atomic_result_is_not_written(wrong: dict[str, Any]) -> None:
    assert qcschema.document(replace(WATER, **wrong)) is None


def judged(name: str, folder: Path, *more: str) -> tuple[Outcome, Path]:
    directory = Path(shutil.copytree(FIXTURES / "xtb-quantities" / name, folder / name))
    if not (directory / "water.xyz").exists():
        (directory / "water.xyz").write_text("3\n\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n")
    args = [f"--{name}", *more]
    wanted = step("xtb", "user", structure="water.xyz", args=args, inputs={"water.xyz": "input/water.xyz"})
    return Xtb().interpret(wanted, directory, directory / "xtb.log", Exit(0, None)), directory / qcschema.FILE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "driver"), [("vipea", "energy"), ("pop", "energy"), ("ohess", "hessian")])
def test_an_xtb_run_leaves_one_with_the_energy_of_its_result(name: str, driver: str, tmp_path: Path) -> None:
    got, file = judged(name, tmp_path)
    assert qcschema.FILE in got.publish
    read = validated(file.read_text())
    assert (read.driver.value, read.provenance.version) == (driver, "6.5.1")
    assert read.properties.return_energy == got.result["energy_hartree"]
    assert read.model.method == got.result["energy_of"]


def test_charge_and_spin_that_a_file_may_decide_leave_none(tmp_path: Path) -> None:
    got, file = judged("pop", tmp_path, "--input", "control")
    assert got.state == "succeeded"
    assert not file.exists()
