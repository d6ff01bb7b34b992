"""What an xTB run was for is in its result with units, and every file it left is published. Recorded with 6.5.1."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qmrunner.cli.render import show_result
from qmrunner.engines import result_files
from qmrunner.engines.xtb import quantities
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import FIXTURES, step
from tests.support import missing

RUNS = FIXTURES / "xtb-quantities"
NEUTRAL_IPEA = -5.826252787102
EXPECTED: dict[str, dict[str, Any]] = {
    "vip": {"energy_hartree": NEUTRAL_IPEA, "vertical_ionization_potential_ev": 13.7982, "energy_of": "IPEA-xTB"},
    "vea": {"energy_hartree": NEUTRAL_IPEA, "vertical_electron_affinity_ev": -2.0330},
    "vipea": {
        "energy_hartree": NEUTRAL_IPEA, "gap_ev": 5.458674537351, "gradient_norm": 0.011083736156,
        "vertical_ionization_potential_ev": 13.7982, "vertical_electron_affinity_ev": -2.0330,
    },
    "vomega": {"energy_hartree": NEUTRAL_IPEA, "electrophilicity_index_ev": 1.0929},
    "vfukui": {"energy_hartree": -5.070364532463, "energy_of": "GFN2-xTB"},
    "pop": {"energy_hartree": -5.070364532463, "dipole_debye": 2.272, "energy_of": "GFN2-xTB"},
    "ohess": {
        "energy_hartree": -5.070544378445, "free_energy_hartree": -5.068036451821, "enthalpy_hartree": -5.046637518349,
        "zero_point_energy_hartree": 0.020125841021, "entropy_cal_mol_k": 45.0378, "heat_capacity_cal_mol_k": 8.0143,
        "temperature_k": 298.15, "dipole_debye": 2.216, "imaginary_frequencies": 0,
    },
}  # fmt: skip
IONS = ("vip", "vea", "vipea", "vomega", "vfukui")


def judged(directory: Path, *args: str) -> Outcome:
    wanted = step("xtb", "user", structure="water.xyz", args=list(args), inputs={"water.xyz": "input/water.xyz"})
    return Xtb().interpret(wanted, directory, directory / "xtb.log", Exit(0, None))


def recorded(name: str, folder: Path) -> Outcome:
    return judged(Path(shutil.copytree(RUNS / name, folder / name)), f"--{name}")


@pytest.mark.parametrize("name", EXPECTED)
def test_the_result_holds_what_the_run_was_for(name: str, tmp_path: Path) -> None:
    got = recorded(name, tmp_path)
    assert got.state == "succeeded", got
    assert {key: got.result[key] for key in EXPECTED[name]} == pytest.approx(EXPECTED[name])


def test_fukui_indices_stand_by_atom(tmp_path: Path) -> None:
    rows = recorded("vfukui", tmp_path).result["fukui"]
    assert rows[0] == {"atom": 1, "element": "O", "f_plus": 0.598, "f_minus": 0.234, "f_zero": 0.416}
    assert [row["atom"] for row in rows] == [1, 2, 3]


def test_charges_bond_orders_and_modes_are_lists(tmp_path: Path) -> None:
    found = recorded("ohess", tmp_path).result
    assert found["charges_e"] == pytest.approx([-0.56474477, 0.28237239, 0.28237238])
    assert found["wiberg_bond_orders"][0] == {"atoms": [1, 2], "order": 0.920212}
    assert found["frequencies_cm1"] == [1539.16, 3643.22, 3651.84]
    assert found["ir_intensities_km_mol"] == [133.56641, 6.67747, 16.79774]


@pytest.mark.parametrize("name", IONS)
def test_charges_and_dipole_of_an_ion_are_not_given_for_the_molecule(name: str, tmp_path: Path) -> None:
    found = recorded(name, tmp_path).result
    assert not {"charges_e", "wiberg_bond_orders", "dipole_debye"} & set(found)
    assert "ion" in found["notes"][0]


@pytest.mark.parametrize("garbage", ["", "NaN\n", "1.0 2.0\n", "***\n", "\x00\xff"])
def test_a_file_that_cannot_be_read_gives_no_quantity(garbage: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RUNS / "pop", tmp_path / "pop"))
    (folder / "wbo").write_text(garbage)
    assert "wiberg_bond_orders" not in judged(folder, "--pop").result


def test_every_file_is_published_but_inputs_and_scratch(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RUNS / "pop", tmp_path / "pop"))
    results = (
        "density.cub",
        "molden.input",
        "xtb_esp_profile.dat",
        "tda.dat",
        "spectrum.out",
        "ensemble.xyz",
        "My Notes",
    )
    scratch = ("xtbrestart", ".xtboptok", ".CHRG", "core", "core.123", "geometry.xyz.part", "x.xtbrestart", "water.xyz")
    for name in (*results, *scratch):
        (folder / name).write_text("something\n")
    (folder / "empty").touch()
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "deeper").mkdir()
    got = judged(folder, "--pop")
    assert set(got.publish) == {*results, "charges", "wbo", "xtb.log"}
    assert got.promote == got.publish


def test_what_is_too_large_or_too_many_is_left_out_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_files, "LARGEST_BYTES", 10)
    monkeypatch.setattr(result_files, "MOST_FILES", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "big").write_bytes(b"x" * 11)
    names, notes = result_files.results(tmp_path, (), ())
    assert names == ("a", "b")
    assert len(notes) == 2
    with (tmp_path / "hollow").open("wb") as file:
        file.truncate(64 << 20)
    monkeypatch.setattr(result_files, "LARGEST_BYTES", 1 << 30)
    assert any("hollow" in note for note in result_files.results(tmp_path, (), ())[1])


def printed(found: dict[str, Any]) -> str:
    out = Console(file=io.StringIO(), width=100, no_color=True, highlight=False, soft_wrap=True)
    answer = {
        "id": "abc", "kind": "xtb", "energy_hartree": found["energy_hartree"], "folder": "/data", "files": [],
        "result": found, "notes": found["notes"], "provenance": {"input": {"atoms": ["O", "H", "H"]}},
    }  # fmt: skip
    show_result(out, answer)
    return out.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_result_reads_like_a_page_of_a_notebook(tmp_path: Path) -> None:
    text = printed(recorded("vipea", tmp_path).result)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "vertical ionization potential 13.798 eV" in rows
    assert "vertical electron affinity -2.033 eV" in rows
    assert "energy (IPEA-xTB) -5.826253 Eh" in rows
    assert text.count("energy, gradient and gap are those") == 1
    rows = [" ".join(line.split()) for line in printed(recorded("ohess", tmp_path).result).splitlines()]
    assert {"1 1539.16 133.57", "O1 -0.5647", "O1-H2 0.920", "zero-point energy 0.020126 Eh"} <= set(rows)
    rows = [" ".join(line.split()) for line in printed(recorded("vfukui", tmp_path).result).splitlines()]
    assert "O1 0.598 0.234 0.416" in rows


def test_a_density_is_among_the_results_of_the_real_program(tmp_path: Path) -> None:
    program = shutil.which(os.environ.get("QMRUNNER_XTB", "xtb")) or missing("xTB is not installed")
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 .117\nH 0 .757 -.47\nH 0 -.757 -.47\n")
    (tmp_path / "dens.inp").write_text("$write\n   density=true\n   mos=true\n$end\n")
    command = [program, "water.xyz", "--input", "dens.inp", "--norestart"]
    with (tmp_path / "xtb.log").open("wb") as log:
        subprocess.run(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, timeout=60, check=True)
    got = judged(tmp_path, "--input", "dens.inp")
    assert got.state == "succeeded", got
    assert {"density.cub", "molden.input", "charges", "wbo"} <= set(got.publish)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("          |                 G F N 0 - x T B                 |", "energy_of", "GFN0-xTB"),
        ("          |                   G F N - F F                   |", "energy_of", "GFN-FF"),
        ("          :  Hamiltonian                  GFN1-xTB          :", "energy_of", "GFN1-xTB"),
        ("   for GFN0-xTB:", "energy_of", None),
        ("NFOD :     0.1234", "fod_electrons", 0.1234),
    ],
)
def test_each_method_and_the_fractional_occupation_are_reported(
    line: str, name: str, value: str | float | None, tmp_path: Path
) -> None:
    (tmp_path / "xtb.log").write_text(f"{line}\n")
    assert quantities.read(tmp_path / "xtb.log", tmp_path, "").get(name) == value
