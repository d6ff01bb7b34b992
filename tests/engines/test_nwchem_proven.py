"""What only the run-time database shows, and geometries as they are printed and stored."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from qmrunner.engines.nwchem.output import elements, rtdb
from qmrunner.engines.nwchem.output.tables import GeometryReader
from tests.engines.nwchem_outputs import (
    ENERGY,
    STEP,
    database,
    geometry,
    judged,
    last_task,
    log_of,
)


def test_a_deck_that_prints_nothing_succeeds_with_the_energy_of_the_database(tmp_path: Path) -> None:
    deck = "print none\ndft; xc b3lyp; end\ntask scf energy\ntask dft energy\n"
    data = database(last_task("dft", "energy", -1.5))
    outcome = judged(deck, log_of([("none", ""), ("none", "")]), tmp_path, database=data)
    assert outcome.state == "succeeded"
    assert (outcome.result["energy_hartree"], outcome.result["energy_of"]) == (-1.5, "B3LYP")
    assert [task["state"] for task in outcome.result["tasks"]] == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    "entries",
    [
        last_task("mp2", "energy", -1.5),
        {**last_task("dft", "energy", -1.5), "task:status": struct.pack("<q", 0)},
        last_task("dft", "energy", float("nan")),
        {},
    ],
)
def test_the_database_proves_no_other_task_and_no_failed_one(entries: dict[str, bytes], tmp_path: Path) -> None:
    outcome = judged("print none\ntask dft energy\n", log_of([("none", "")]), tmp_path, database=database(entries))
    assert "energy_hartree" not in outcome.result


def test_the_database_has_no_energy_of_finite_differences(tmp_path: Path) -> None:
    displaced = last_task("scf", "freq", -1.5, **{"task:gradient": bytes(48)})
    analytic = last_task("scf", "freq", -1.5)
    deck, log = "print none\ntask scf freq\n", log_of([("none", "")])
    assert "energy_hartree" not in judged(deck, log, tmp_path, database=database(displaced)).result
    assert judged(deck, log, tmp_path, database=database(analytic)).result["energy_hartree"] == -1.5


def test_a_task_without_an_energy_leaves_the_database_to_the_one_before(tmp_path: Path) -> None:
    entries = {"task:theory": b"esp\0", "scf:energy": struct.pack("<d", -1.5)}
    deck, log = "print none\ntask scf energy\ntask esp\n", log_of([("none", ""), ("none", "")])
    result = judged(deck, log, tmp_path, database=database(entries)).result
    assert (result["energy_hartree"], result["energy_of"]) == (-1.5, "HF")


def test_the_database_proves_the_last_task_where_its_times_are_missing(tmp_path: Path) -> None:
    deck, log = "task scf energy\n", log_of([("low", "")])
    assert judged(deck, log, tmp_path).state == "failed"
    outcome = judged(deck, log, tmp_path, database=database(last_task("scf", "energy", -1.5)))
    assert (outcome.state, outcome.result["energy_hartree"]) == ("succeeded", -1.5)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_database_that_is_cut_short_is_read_as_far_as_it_goes(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    whole = database(last_task("dft", "energy", -1.5))
    path.write_bytes(whole[:-cut])
    found = rtdb.read(path)
    assert found is not None
    assert not found.whole
    path.write_bytes(b"no database")
    assert rtdb.read(path) is None
    assert rtdb.read(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("tag", "element"),
    [
        ("O", "O"), ("h", "H"), ("H_1", "H"), ("O_acc", "O"), ("C12", "C"), ("Cl3", "Cl"), ("cl", "Cl"), ("Fe_a", "Fe"),
        ("hydrogen2", "H"), ("Hydro", "H"), ("carbon", "C"), ("Ca1", "Ca"), ("ruthenium", "Ru"), ("tin", "Ti"),
        ("Xe1", "Xe"), ("U", "U"), ("bq", None), ("bqO", None), ("X1", None), ("xh", None), ("Qz", None),
    ],
)  # fmt: skip
def test_a_tag_is_the_element_that_nwchem_takes_it_for(tag: str, element: str | None) -> None:
    assert elements.of_tag(tag) == element


TABLE = """
                         Geometry "geometry" -> "{name}"
                         ---------------------------------

 Output coordinates in {unit} (scale by  {scale} to convert to a.u.)

  No.       Tag          Charge          X              Y              Z
 ---- ---------------- ---------- -------------- -------------- --------------
    1 O_acc                8.0000     0.00000000    -0.00000000     {z:.8f}
    2 H_1                  1.0000     0.00000000     1.43256422    -0.92316497
    3 bqHe                 0.0000     0.00000000     0.00000000     3.00040000

"""


@pytest.mark.parametrize(
    ("unit", "scale", "per_angstrom"),
    [("a.u.", "1.000000000", 1.889725989), ("angstroms", "1.889725989", 1.0), ("nanometer", "18.897259890", 0.1)],
)
def test_a_table_in_any_unit_is_read_in_angstrom(unit: str, scale: str, per_angstrom: float) -> None:
    table = GeometryReader("log")
    for number, line in enumerate(TABLE.format(name="geometry", unit=unit, scale=scale, z=1.0).splitlines(), 1):
        table.feed(line, number)
    assert table.last is not None
    assert table.last.atoms == ("O", "H")
    assert table.last.xyz[0][2] == pytest.approx(1.0 / per_angstrom, abs=1e-8)
    assert table.first_count == 3


def test_the_input_s_own_table_is_no_geometry_of_a_task() -> None:
    table = GeometryReader("log")
    for number, line in enumerate(TABLE.format(name="", unit="a.u.", scale="1.0", z=1.0).splitlines(), 1):
        table.feed(line, number)
    assert table.last is None


OPTIMISED = "      Optimization converged\n" + STEP.format(3, -1.7)


def test_the_geometry_is_the_last_one_that_a_task_moved_to_and_names_the_task(tmp_path: Path) -> None:
    other = TABLE.format(name="geometry", unit="a.u.", scale="1.0", z=9.0)
    printed = TABLE.format(name="geometry", unit="a.u.", scale="1.0", z=1.889725989)
    log = log_of([("medium", OPTIMISED + printed), ("medium", other + ENERGY.format("SCF", -1.9))])
    outcome = judged("task scf optimize\ntask scf energy\n", log, tmp_path)
    lines = (tmp_path / "attempt/geometry.xyz").read_text().splitlines()
    assert outcome.publish[0] == "geometry.xyz"
    assert lines[:2] == ["2", "task 1 of 2, scf optimize: energy -1.7 hartree (HF)"]
    assert lines[2].split() == ["O", "0.00000000", "-0.00000000", "1.00000000"]


@pytest.mark.parametrize(("after", "known"), [("", True), ("geometry; He 0 0 0; end\n", False)])
def test_a_geometry_that_is_not_printed_comes_from_the_database_while_it_is_in_force(
    after: str, known: bool, tmp_path: Path
) -> None:
    entries = {"geometry": b"second\0", **geometry(["H_a", "bq"], [1.0, 0.0], [0, 0, 1.889725989, 0, 0, 5], "second")}
    deck = f"print none\ngeometry; H 0 0 0; end\ntask scf optimize\n{after}task scf energy\n"
    judged(deck, log_of([("none", ""), ("none", "")]), tmp_path, database=database(entries))
    path = tmp_path / "attempt/geometry.xyz"
    assert path.exists() is known
    if known:
        assert path.read_text().split() == [
            "1", "task", "1", "of", "2,", "scf", "optimize", "H", "0.00000000", "0.00000000", "1.00000000",
        ]  # fmt: skip
