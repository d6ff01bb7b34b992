"""What an NWChem deck was for is in its result with units. Recorded with NWChem 7.0.2; values read off by hand."""

from __future__ import annotations

import io
import logging
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from qmrunner.cli.render import show_result
from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.nwchem.output.numbers import Table, number
from qmrunner.engines.nwchem.output.quantities import Quantities
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import FIXTURES, step

RUNS = FIXTURES / "nwchem-quantities"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((RUNS / "expected.toml").read_text())
NAMES = sorted(EXPECTED)


def judged(name: str, folder: Path, log: str | None = None) -> Outcome:
    directory = Path(shutil.copytree(RUNS / name, folder / name))
    output = directory / "stdout.txt"
    if log is not None:
        output.write_text(log)
    return NWChem().interpret(step("nwchem", "deck", deck="input.nw"), directory, output, Exit(returncode=0))


def same(found: Any, value: Any) -> bool:
    """Whether they agree within the digits printed; TOML has no null: what is missing there may be anything here."""
    if isinstance(value, dict):
        return all(same(found.get(key), one) for key, one in value.items())
    if isinstance(value, list):
        return isinstance(found, list) and len(found) == len(value) and all(map(same, found, value))
    return bool(found == (pytest.approx(value, abs=1e-4, rel=1e-7) if isinstance(value, float) else value))


@pytest.mark.parametrize("name", NAMES)
def test_the_result_holds_what_the_deck_was_for(name: str, tmp_path: Path) -> None:
    got = judged(name, tmp_path)
    assert got.state == "succeeded", got
    differ = {key: got.result.get(key) for key, value in EXPECTED[name].items() if not same(got.result.get(key), value)}
    assert differ == {}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_computed_has_no_entry(name: str, tmp_path: Path) -> None:
    found = judged(name, tmp_path).result
    told = EXPECTED[name].get("frequencies_cm1"), EXPECTED[name].get("excitations")
    assert ("frequencies_cm1" in found, "excitations" in found) == tuple(one is not None for one in told)
    assert not [key for key, value in found.items() if value is None]


def test_of_several_tasks_each_has_its_own_quantities(tmp_path: Path) -> None:
    first, second = judged("ccsd-polarizability-then-freq", tmp_path).result["tasks"]
    assert "polarizability_au" in first
    assert "frequencies_cm1" not in first
    assert "frequencies_cm1" in second
    assert "polarizability_au" not in second


def test_a_state_keeps_its_spin_and_a_temperature_its_enthalpy(tmp_path: Path) -> None:
    found = judged("states-in-turn", tmp_path).result
    triplet, singlet, _ = found["tasks"]
    assert (triplet["spin_squared"], triplet["spin_populations"]) == (2.0034, [1.0, 1.0])
    assert singlet["temperature_k"] == 298.15
    assert not {"spin_squared", "spin_populations", "temperature_k", "enthalpy_hartree"} & found.keys()


def test_charges_of_nuclei_whose_cores_are_unknown_are_left_out(tmp_path: Path) -> None:
    """The first task has a low print level: without the shells, and without the charge of the molecule."""
    first, second = judged("core-potential", tmp_path).result["tasks"]
    assert "charges_e" not in first
    assert sum(second["charges_e"]) == pytest.approx(1.0, abs=1e-3)


def test_enthalpy_is_the_energy_of_the_same_task_and_its_correction(tmp_path: Path) -> None:
    found = judged("mp2-freq", tmp_path).result
    assert found["enthalpy_hartree"] == pytest.approx(-76.112825384337 + 0.025665)
    assert found["free_energy_hartree"] == pytest.approx(-76.112825384337 + 0.025665 - 298.15 * 46.421 / 627509.474)


@pytest.mark.parametrize("garbage", ["*********", "NaN", "Infinity", "-"])
def test_a_value_that_is_no_number_is_left_out_with_its_list(garbage: str, tmp_path: Path) -> None:
    text = (RUNS / "mp2-freq" / "stdout.txt").read_text()
    at = text.rindex("Projected Infra Red Intensities")
    changed = text[:at] + text[at:].replace("75.011", garbage, 1)
    found = judged("mp2-freq", tmp_path, changed).result
    assert "ir_intensities_km_mol" not in found
    assert found["frequencies_cm1"] == [1659.089, 3904.679, 4048.35]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10**6), st.binary(max_size=40))
def test_no_damaged_output_stops_the_reader(name: str, at: int, junk: bytes) -> None:
    data = (RUNS / name / "stdout.txt").read_bytes()
    at %= len(data)
    damaged = data[:at] + junk + data[at + 3 * len(junk) :]
    reader = Quantities()
    for position, line in enumerate(damaged.decode("utf-8", "replace").split("\n"), 1):
        reader.feed(line, position)


def test_what_a_crafted_output_makes_of_the_reader_stays_small() -> None:
    reader = Quantities()
    lines = [
        " Normal Eigenvalue ||           Projected Infra Red Intensities", *["  1 1.0 || 1 1 1.0 1"] * 20_000, "",
        *["  Root   1 singlet a2             0.1 a.u.                3.9 eV"] * 20_000,
        *[f"  Root   {n} singlet a2             0.1 a.u.                3.9 eV" for n in range(20_000)],
        *[" Excited state root  1", " Excitation energy / hartree = 1"] * 900,
        *["  Time elapsed (fs) : 1.0"] * 20_000,
    ]  # fmt: skip
    for position, line in enumerate(lines, 1):
        reader.feed(line, position)
    (_, found, _), *_ = reader._all()
    assert "frequencies_cm1" not in found
    assert len(found["excitations"]) <= 1000
    assert len(found["trajectory"]) <= 10_000


def test_a_table_ends_at_the_first_line_that_is_no_row() -> None:
    table = Table("Heading", r"^ (\d+) (\S+)$")
    for line in ("Heading", "----", " 1 a", " 2 b", "", " 3 c", "Heading", " 4 d"):
        table.feed(line)
    assert table.rows == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize(("text", "value"), [("1.5D-03", 0.0015), ("****", None), ("NaN", None), ("inf", None)])
def test_numbers_are_read_as_fortran_prints_them(text: str, value: float | None) -> None:
    assert number(text) == value


def _by_cclib(name: str) -> Any:
    parser = pytest.importorskip("cclib.parser.nwchemparser")
    text = (RUNS / name / "stdout.txt").read_text()
    # Its reader of this section fails on every point group with degenerate representations.
    text = re.sub(r"Symmetry analysis of basis", "", text)
    return parser.NWChem(io.StringIO(text), loglevel=logging.CRITICAL).parse()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mp2-freq", "freq-two-temperatures", "ccsd-polarizability-then-freq"])
def test_frequencies_are_those_that_cclib_reads(name: str, tmp_path: Path) -> None:
    ours, theirs = judged(name, tmp_path).result, _by_cclib(name)
    assert list(theirs.vibfreqs[-len(ours["frequencies_cm1"]) :]) == pytest.approx(ours["frequencies_cm1"])
    assert list(theirs.vibirs[-len(ours["frequencies_cm1"]) :]) == pytest.approx(ours["ir_intensities_km_mol"])
    assert theirs.zpve == pytest.approx(ours["zero_point_energy_hartree"])


def test_a_strength_that_spin_forbids_is_not_reported_as_zero(tmp_path: Path) -> None:
    states = judged("tddft", tmp_path).result["excitations"]
    strengths = [state["oscillator_strength"] for state in states if state["multiplicity"] == 3]
    assert strengths == [None] * 4


@pytest.mark.filterwarnings("ignore")
def test_excitations_and_orbitals_are_those_that_cclib_reads(tmp_path: Path) -> None:
    ours, theirs = judged("tddft", tmp_path).result, _by_cclib("tddft")
    energies = [one["energy_ev"] for one in ours["excitations"]]
    assert [value / 8065.544 for value in theirs.etenergies] == pytest.approx(energies, abs=1e-3)
    at = theirs.homos[0]
    assert list(theirs.moenergies[0][at : at + 2]) == pytest.approx([ours["homo_ev"], ours["lumo_ev"]], abs=1e-3)


def test_the_isotropic_polarizability_is_a_third_of_the_trace(tmp_path: Path) -> None:
    found = judged("ccsd-polarizability-then-freq", tmp_path).result["tasks"][0]["polarizabilities"][0]
    trace = sum(found["tensor_au"][at][at] for at in range(3)) / 3
    assert trace == pytest.approx(found["isotropic_au"])


def test_every_file_is_published_but_scratch(tmp_path: Path) -> None:
    results = ("density.cube", "x.molden", "x.fdrst", "x.civecs_singlet", "x.movecs", "x.neb_final.xyz", "plot.dat")
    scratch = ("x.db", "x.aoints.0", "x.gridpts.1", "x.cphf_sol.001", "x.ramanpol_0001-1", "x.t2", ".hidden", "core.7")
    run = Path(shutil.copytree(RUNS / "esp", tmp_path / "run"))
    for name in (*results, *scratch):
        (run / name).write_text("something\n")
    (run / "empty").touch()
    (run / "link").symlink_to("/etc/passwd")
    (run / "more").mkdir()
    log = tmp_path / "log"
    (run / "stdout.txt").rename(log)
    got = NWChem().interpret(step("nwchem", "deck", deck="input.nw"), run, log, Exit(returncode=0))
    assert set(got.publish) == {*results, "input.nw"}
    assert [note for note in got.result["notes"] if "folder more" in note]


def printed(found: dict[str, Any]) -> set[str]:
    out = Console(file=io.StringIO(), width=120, no_color=True, highlight=False, soft_wrap=True)
    answer = {
        "id": "abc", "kind": "nwchem", "energy_hartree": found["energy_hartree"], "folder": "/data", "files": [],
        "result": found, "notes": [], "provenance": {"input": {"atoms": ["O", "H", "H"]}},
    }  # fmt: skip
    show_result(out, answer)
    return {" ".join(line.split()) for line in out.file.getvalue().splitlines()}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "mp2-freq",
            {"1 1659.09 75.01", "zero-point energy 0.021888 Eh", "MP2 -76.112825", "energy (MP2) -76.112825 Eh"},
        ),
        ("tddft", {"2 1 b2 9.1000 0.17846", "1 3 a2 3.2048 -", "energy (TDDFT root 1) -114.341911 Eh"}),
        ("ccsd-t", {"CCSD(T) -76.209712", "O1 -0.8700", "dipole moment 2.226 D (0.000, 0.000, -2.226)"}),
        ("raman", {"3876.99 93.558", "Raman excitation 569.5 nm"}),
        ("freq-two-temperatures", {"400.00 0.015432 0.016698 53.816 7.866"}),
        ("ccsd-polarizability-then-freq", {"0.000000 4.2897 4.5928", "mean polarizability 4.290 a.u."}),
        ("hyperfine", {"1 C 159.098 0.141522", "2 H -70.743 -0.015827", "1 C -0.171148, 0.085574, 0.085574 0.0000"}),
        ("g-shift", {"g shift 26491.2 ppm (73716.2, 5802.8, -45.6)"}),
        ("qmd", {"1.21 -74.960746 -74.958643 442.6"}),
    ],
)
def test_a_result_reads_like_a_page_of_a_notebook(name: str, rows: set[str], tmp_path: Path) -> None:
    assert rows - printed(judged(name, tmp_path).result) == set()


def test_a_path_is_shown_relative_to_its_start() -> None:
    reader = Quantities()
    lines = (" neb: Path Energy #  1", " neb: ---", " neb:   1 -1.0", " neb:   2 -0.99", " neb:")
    for position, line in enumerate(lines, 1):
        reader.feed(line, position)
    (_, found, _), *_ = reader._all()
    assert found == {"path_energies_hartree": [-1.0, -0.99]}
    assert "2 -0.990000 6.28" in printed({**found, "energy_hartree": None, "notes": []})
